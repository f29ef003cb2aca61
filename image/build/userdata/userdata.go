package userdata

import (
	_ "embed"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"

	"ztbridge/image/build/aptkey"
	"ztbridge/image/device/cloudconfig"
)

// What clouds take, in bytes of the text as it is written. Oracle allows 32,000 bytes of metadata
// in all, after base64 makes four of three, and the SSH key is among it; EC2 allows 16 KB before
// base64. What has Limit or more is refused: few clouds take it.
const (
	Limit       = 32 << 10
	OracleLimit = 23000
	EC2Limit    = 16 << 10
)

// ErrTooLarge reports user-data of Limit or more.
var ErrTooLarge = errors.New("the user-data is too large for a cloud")

// SizeWarnings says, one line each, which clouds refuse user-data of that many bytes.
func SizeWarnings(size int) []string {
	var all []string
	if size > OracleLimit {
		all = append(all, fmt.Sprintf(
			"Oracle takes about %d bytes (32,000 after base64, with all other metadata); this "+
				"has %d", OracleLimit, size))
	}
	if size > EC2Limit {
		all = append(all, fmt.Sprintf("EC2 takes %d bytes; this has %d", EC2Limit, size))
	}
	return all
}

// Download is a package at an address, which is used only when its content is the one meant.
type Download struct {
	URL    string // https
	SHA256 string
}

// Repository is the vendor's apt repository of zerotier-one.
type Repository struct {
	URL         string // https
	Suite       string
	Key         []byte // ASCII-armoured
	Fingerprint string // of the key, whole: whoever gives a key also says which one is meant
}

// Options is everything that the machine is told.
type Options struct {
	Files      map[string][]byte // name → content, for /etc/ztbridge; ztbridge.yaml among them
	Package    Download          // ztbridge's own
	ZeroTier   *Download         // the vendor's package, or
	Repository *Repository       // the vendor's repository; neither: the network is not ZeroTier's
}

//go:embed install.sh
var installHead string

const installer = "/usr/local/sbin/ztbridge-install"

// Generate writes the user-data. It holds secrets, as the files do. SSH and the image's own
// firewall rules are left alone: the daemon puts its accepts in front of them.
func Generate(o Options) ([]byte, error) {
	if _, ok := o.Files["ztbridge.yaml"]; !ok {
		return nil, errors.New("generating user-data: there is no ztbridge.yaml")
	}
	if err := o.Package.check(); err != nil {
		return nil, fmt.Errorf("generating user-data: ztbridge's package: %w", err)
	}
	config := cloudconfig.Config{PackageUpdate: true, Packages: []string{"ca-certificates", "curl",
		"iptables", "openvpn"}, RunCmd: [][]string{{installer}}}
	script := installHead + "\nfetch '" + o.Package.URL + "' " + o.Package.SHA256 +
		" ztbridge.deb\n"
	debs := []string{`"$work/ztbridge.deb"`}
	switch {
	case o.ZeroTier != nil:
		if err := o.ZeroTier.check(); err != nil {
			return nil, fmt.Errorf("generating user-data: ZeroTier's package: %w", err)
		}
		script += "fetch '" + o.ZeroTier.URL + "' " + o.ZeroTier.SHA256 + " zerotier-one.deb\n"
		debs = append(debs, `"$work/zerotier-one.deb"`)
	case o.Repository != nil:
		source, err := o.Repository.source()
		if err != nil {
			return nil, fmt.Errorf("generating user-data: ZeroTier's repository: %w", err)
		}
		config.Apt = &cloudconfig.Apt{
			Sources: map[string]cloudconfig.Source{"zerotier.list": source}}
		debs = append(debs, "zerotier-one")
	}
	script += "install_debs " + strings.Join(debs, " ") +
		"\nsystemctl enable --now ztbridge-guard.service ztbridge.service\n"
	config.Files = append(configFiles(o.Files), cloudconfig.File{Path: installer,
		Owner: "root:root", Permissions: "0755", Content: script})
	text, err := config.Encode()
	if err != nil {
		return nil, err
	}
	if len(text) >= Limit {
		return nil, fmt.Errorf("%w: %d bytes of at most %d; use fewer or smaller profiles",
			ErrTooLarge, len(text), Limit)
	}
	return text, nil
}

func configFiles(files map[string][]byte) []cloudconfig.File {
	var all []cloudconfig.File
	for _, name := range slices.Sorted(maps.Keys(files)) {
		all = append(all, cloudconfig.File{Path: path.Join(cloudconfig.Folder, name),
			Owner: "root:root", Permissions: "0600", Content: string(files[name])})
	}
	return all
}

var sumRE = regexp.MustCompile(`^[0-9a-f]{64}$`)

// check also keeps quotes and spaces out of the script.
func (d Download) check() error {
	if err := checkURL(d.URL); err != nil {
		return err
	}
	if !sumRE.MatchString(d.SHA256) {
		return fmt.Errorf("its SHA-256 has 64 hexadecimal digits, not %q", d.SHA256)
	}
	return nil
}

func checkURL(address string) error {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" || u.Host == "" ||
		strings.ContainsAny(address, "'\" \n\\$`") {
		return fmt.Errorf("want an https address, not %q", address)
	}
	return nil
}

var suiteRE = regexp.MustCompile(`^[a-z]+$`)

func (r Repository) source() (cloudconfig.Source, error) {
	if err := checkURL(r.URL); err != nil {
		return cloudconfig.Source{}, err
	}
	if !suiteRE.MatchString(r.Suite) {
		return cloudconfig.Source{}, fmt.Errorf("bad suite %q", r.Suite)
	}
	key, err := aptkey.Only(r.Key, r.Fingerprint)
	if err != nil {
		return cloudconfig.Source{}, err
	}
	return cloudconfig.Source{Source: fmt.Sprintf("deb [signed-by=$KEY_FILE] %s %s main", r.URL,
		r.Suite), Key: string(key)}, nil
}
