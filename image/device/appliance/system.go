package appliance

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Places that exist only in the running system: they are made again from the data partition at each
// start.
const (
	networkDir = "/run/systemd/network"
	wifiFile   = "/etc/wpa_supplicant/wpa_supplicant-wlan0.conf"
)

// applySystemFiles lets the box's own services see what the user gave. SSH starts only when a key
// was given, and its host key is made then, once.
func (s *Setup) applySystemFiles(ctx context.Context) error {
	system := filepath.Join(s.DataDir, systemDir)
	return errors.Join(s.applyKey(ctx, system), s.applyWiFi(system), s.applyNetworks(system))
}

func (s *Setup) applyKey(ctx context.Context, system string) error {
	hostKey := filepath.Join(system, "ssh_host_ed25519_key")
	if !exists(filepath.Join(system, "authorized_keys")) || isKey(hostKey) {
		return nil
	}
	fresh := filepath.Join(system, ".new-host-key")
	// of an interrupted start: ssh-keygen would ask about it
	for _, old := range []string{fresh, fresh + ".pub"} {
		if err := os.RemoveAll(old); err != nil {
			return fmt.Errorf("making the SSH host key: %w", err)
		}
	}
	if err := s.Run(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "ztbridge", "-f",
		fresh); err != nil {
		return fmt.Errorf("making the SSH host key: %w", err)
	}
	// ssh-keygen does not wait for the medium, and a name may get there before its content.
	if err := errors.Join(syncPath(fresh), os.Rename(fresh, hostKey),
		syncPath(system)); err != nil {
		return fmt.Errorf("making the SSH host key: %w", err)
	}
	return nil
}

// isKey reports whether there is a whole key. A power cut may have left an empty file, or one of
// zeros: the SSH server would refuse to start forever.
func isKey(name string) bool {
	text, err := os.ReadFile(name)
	if err != nil {
		return false
	}
	block, _ := pem.Decode(text)
	return block != nil && len(block.Bytes) > 0
}

// syncPath waits until a file, or the names in a folder, are on the medium.
func syncPath(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	err = f.Sync()
	if errors.Is(err, unix.EINVAL) {
		err = nil // a file system that has no notion of it for folders
	}
	return errors.Join(err, f.Close())
}

func (s *Setup) applyWiFi(system string) error {
	file := filepath.Join(system, "wpa_supplicant.conf")
	if !exists(file) || !exists(filepath.Dir(wifiFile)) {
		return nil // no Wi-Fi given, or a target without
	}
	return copyFile(file, wifiFile)
}

// applyNetworks puts the user's files before ours: systemd-networkd takes the first that matches.
func (s *Setup) applyNetworks(system string) error {
	files, err := filepath.Glob(filepath.Join(system, "*"+networkSuffix))
	if err != nil || len(files) == 0 {
		return err
	}
	if err := os.MkdirAll(networkDir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", networkDir, err)
	}
	for _, file := range files {
		to := filepath.Join(networkDir, "10-user-"+filepath.Base(file))
		if err := copyFile(file, to); err != nil {
			return err
		}
		if err := os.Chmod(to, 0o644); err != nil { // the network service is no root
			return fmt.Errorf("installing %s: %w", filepath.Base(file), err)
		}
	}
	return nil
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}
