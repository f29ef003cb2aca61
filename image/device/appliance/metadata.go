package appliance

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/image/device/cloudconfig"
)

// Oracle's machines are recognised by their firmware's asset tag. Their metadata service returns
// what they were created with:
// https://docs.oracle.com/iaas/Content/Compute/Tasks/gettingmetadata.htm
const (
	assetTagFile   = "/sys/class/dmi/id/chassis_asset_tag"
	oracleAssetTag = "OracleCloud.com"
	oracleMetadata = "http://169.254.169.254/opc/v2/instance/"
)

// inOracleCloud says the same as the condition in ztbridge-metadata.service.
func inOracleCloud() bool {
	tag, err := os.ReadFile(assetTagFile)
	return err == nil && strings.TrimSpace(string(tag)) == oracleAssetTag
}

const userDataHint = "hint: create the machine with the user-data that `ztbridge-image " +
	"user-data` writes, or put the files on this partition"

// errNoUserData is what a machine says that was created from the image alone.
var errNoUserData = errors.New("this machine was created without user-data\n" + userDataHint)

// Metadata is Oracle's metadata service.
type Metadata struct {
	Address string
	Client  *http.Client
	Every   time.Duration // between attempts
}

// OracleMetadata is the service of the machine that this runs on. It is asked directly, whatever
// proxy there may be.
func OracleMetadata() Metadata {
	return Metadata{Address: oracleMetadata, Client: &http.Client{Transport: &http.Transport{},
		Timeout: 5 * time.Second}, Every: 2 * time.Second}
}

// instance is the part of the service's answer that we need.
type instance struct {
	Metadata struct {
		UserData []byte `json:"user_data"` // base64 on the wire
		Keys     string `json:"ssh_authorized_keys"`
	} `json:"metadata"`
}

// get asks until there is an answer or the context ends. The network may not be up yet, and the
// service fails now and then.
func (m Metadata) get(ctx context.Context) (instance, error) {
	ticker := time.NewTicker(m.Every)
	defer ticker.Stop()
	var reason error
	for {
		i, err := m.ask(ctx)
		switch {
		case err == nil:
			return i, nil
		case ctx.Err() == nil || reason == nil:
			// that the time was up says less than what went wrong before
			reason = err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return instance{}, fmt.Errorf("asking the cloud's metadata service: %w", reason)
		}
	}
}

// maxAnswer is far above the 32,000 bytes that the metadata of a machine may have.
const maxAnswer = 1 << 20

func (m Metadata) ask(ctx context.Context) (i instance, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, m.Address, nil)
	if err != nil {
		return i, err
	}
	// The service wants it, so that no program can be tricked into asking.
	req.Header.Set("Authorization", "Bearer Oracle")
	resp, err := m.Client.Do(req)
	if err != nil {
		return i, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return i, fmt.Errorf("it answered %s", resp.Status)
	}
	var corrupt base64.CorruptInputError
	err = json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&i)
	if errors.As(err, &corrupt) {
		return i, fmt.Errorf("reading the user-data: %w", err)
	}
	return i, err
}

// TakeMetadata installs the configuration and the SSH key of the cloud's metadata, on a box that
// has no configuration. Problems are told as those with files on the FAT partition are. It blocks
// until the service has answered or the context ends.
func (s *Setup) TakeMetadata(ctx context.Context, service Metadata) error {
	i, err := service.get(ctx)
	remarks := ""
	if err == nil {
		keys := s.takeKeys(ctx, i.Metadata.Keys)
		remarks, err = s.takeUserData(ctx, i.Metadata.UserData)
		err = errors.Join(keys, err)
	}
	return errors.Join(err, s.tell(remarks, err))
}

// takeKeys lets in who created the machine, unless somebody was named before.
func (s *Setup) takeKeys(ctx context.Context, keys string) error {
	system := filepath.Join(s.DataDir, systemDir)
	file := filepath.Join(system, "authorized_keys")
	if keys == "" {
		return nil
	}
	if exists(file) { // perhaps without a host key, which the setup could not make
		return s.applyKey(ctx, system)
	}
	if err := os.MkdirAll(system, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", system, err)
	}
	// Half a file would be taken for somebody named before.
	write := func(fresh string) error {
		return writeSync(fresh, []byte(strings.TrimSpace(keys)+"\n"))
	}
	if err := replace(file, write); err != nil {
		return fmt.Errorf("writing the SSH key: %w", err)
	}
	return s.applyKey(ctx, system)
}

func (s *Setup) takeUserData(ctx context.Context, text []byte) (remarks string, err error) {
	if len(text) == 0 {
		return "", errNoUserData
	}
	files, err := cloudconfig.Configuration(text)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, userDataHint)
	}
	remarks, err = s.adopt(ctx, func(staging string) error {
		for name, content := range files {
			if err := writeSync(filepath.Join(staging, name), content); err != nil {
				return fmt.Errorf("staging %s: %w", name, err)
			}
		}
		return nil
	})
	switch {
	case errors.Is(err, errNoConfig):
		return "", fmt.Errorf("the user-data has no %s\n%s", configName, userDataHint)
	case errors.Is(err, errBadConfig):
		return "", fmt.Errorf("the user-data was not taken over, since %w\n%s", err, userDataHint)
	case err != nil:
		return "", err
	}
	s.Console("taken over from the user-data: " + strings.Join(slices.Sorted(maps.Keys(files)),
		", ") + "\n")
	return remarks, nil
}
