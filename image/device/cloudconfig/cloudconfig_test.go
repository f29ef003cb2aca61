package cloudconfig

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What one side writes, the other reads: byte for byte, whatever YAML thinks of the content.
func TestConfigurationIsWhatWasEncoded(t *testing.T) {
	want := map[string][]byte{"ztbridge.yaml": []byte("egress: {}\n"),
		"provider.auth": []byte("user\n: p#'\"w \n\n"), "empty.key": {}}
	config := Config{Packages: []string{"openvpn"},
		Apt:    &Apt{Sources: map[string]Source{"a.list": {Source: "deb x", Key: "k"}}},
		RunCmd: [][]string{{"install"}}, Files: []File{
			{Path: "/usr/local/sbin/install", Content: "#!/bin/sh\n"}}}
	for name, content := range want {
		config.Files = append(config.Files, File{Path: Folder + "/" + name, Owner: "root:root",
			Permissions: "0600", Content: string(content)})
	}
	text, err := config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Configuration(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestConfiguration(t *testing.T) {
	tests := []struct {
		name, text string
		files      int
		is         error // nil: any
		wantErr    bool
	}{
		{name: "with keys of the owner's",
			text: "#cloud-config\nruncmd: [reboot]\nusers: [a]\nwrite_files:\n- {path: /etc/ztbridge/a.ovpn, content: x}\n", files: 1},
		{name: "line ends of Windows",
			text:  "#cloud-config\r\nwrite_files:\r\n- {path: /etc/ztbridge/a.ovpn, content: x}\r\n",
			files: 1},
		{name: "files elsewhere",
			text: "#cloud-config\nwrite_files:\n- {path: /etc/shadow, content: x}\n- {path: /etc/ztbridge/../shadow, content: x}\n- {path: /etc/ztbridge/a/b, content: x}\n"},
		{name: "nothing for us", text: "#cloud-config\n"},
		{name: "a script", text: "#!/bin/sh\n", wantErr: true, is: ErrForeign},
		{name: "compressed", text: "\x1f\x8b\x08", wantErr: true, is: ErrForeign},
		{name: "nothing", text: "", wantErr: true, is: ErrForeign},
		{name: "no YAML", text: "#cloud-config\nwrite_files: [\n", wantErr: true},
		{name: "encoded",
			text: "#cloud-config\nwrite_files:\n- {path: /etc/ztbridge/a.ovpn, encoding: b64, content: eA==}\n", wantErr: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files, err := Configuration([]byte(tt.text))
			if (err != nil) != tt.wantErr || (tt.is != nil && !errors.Is(err, tt.is)) {
				t.Fatalf("error %v", err)
			}
			if len(files) != tt.files {
				t.Errorf("files %v, want %d", files, tt.files)
			}
		})
	}
}

func FuzzConfiguration(f *testing.F) {
	f.Add([]byte("#cloud-config\nwrite_files:\n- {path: /etc/ztbridge/a.ovpn, content: x}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		files, err := Configuration(text)
		if err != nil {
			return
		}
		for name := range files {
			if name == "" || name == "." || name == ".." || name == "/" ||
				cmp.Equal(name[:1], "/") {
				t.Errorf("a file named %q", name)
			}
		}
	})
}
