package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"ztbridge/image/device/box"
)

// params is what the boot loader tells.
type params struct {
	serial uint32 // of the FAT partition booted from
	slot   box.Slot
}

func readParams(file string) (params, error) {
	line, err := os.ReadFile(file)
	if err != nil {
		return params{}, fmt.Errorf("reading the kernel's command line: %w", err)
	}
	return parseParams(string(line))
}

func parseParams(line string) (params, error) {
	var p params
	for word := range strings.FieldsSeq(line) {
		key, value, _ := strings.Cut(word, "=")
		switch key {
		case box.ParamBoot:
			n, err := strconv.ParseUint(value, 16, 32)
			if err != nil {
				return params{}, fmt.Errorf("reading %s: %w", box.ParamBoot, err)
			}
			p.serial = uint32(n)
		case box.ParamSlot:
			slot, err := box.Parse(value)
			if err != nil {
				return params{}, fmt.Errorf("reading %s: %w", box.ParamSlot, err)
			}
			p.slot = slot
		}
	}
	if p.serial == 0 || p.slot == "" {
		return params{}, errors.New("the kernel's command line names no boot partition or no slot")
	}
	return p, nil
}
