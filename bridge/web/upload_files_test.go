package web

import (
	"archive/zip"
	"bytes"
	"io"
	"mime/multipart"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/web/browsertest"
)

// severalFiles is a form with files of a size.
func severalFiles(token string, size int, names ...string) (body *bytes.Buffer, kind string) {
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	_ = w.WriteField("token", token)
	for _, name := range names {
		part, _ := w.CreateFormFile("file", name)
		_, _ = io.WriteString(part, strings.Repeat("#", size))
	}
	_ = w.WriteField("target", "=provider")
	_ = w.Close()
	return body, w.FormDataContentType()
}

// TestUploadOfSeveral: files that are chosen together are tried together, as those of an archive.
func TestUploadOfSeveral(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	service := serveImports(t, s, works)
	owner := visit(t, server.URL)
	owner.login(ownerPassword)
	token := owner.token()
	var many []string
	for range maxParts {
		many = append(many, "a.ovpn")
	}
	for want, form := range map[string]func() (*bytes.Buffer, string){
		"the files are larger than 32 MB together": func() (*bytes.Buffer, string) {
			return severalFiles(token, maxUpload/2, "a.ovpn", "b.ovpn", "c.ovpn")
		},
		"put them into one ZIP archive": func() (*bytes.Buffer, string) {
			return severalFiles(token, 1, many...)
		},
	} {
		if code, text := owner.upload(form()); code != 422 ||
			!strings.Contains(strings.ToLower(text), strings.ToLower(want)) {
			t.Errorf("%d, want %q in\n%s", code, want, text)
		}
		if _, err := os.Lstat(s.uploadPath()); !os.IsNotExist(err) {
			t.Errorf("%s: a file is left: %v", want, err)
		}
	}
	// A form that is refused disturbs none that is being received.
	if err := s.begin(api.ImportRequest{}, receiving); err != nil {
		t.Fatal(err)
	}
	if code, _ := owner.upload(severalFiles(token, 1, "a.ovpn")); code != 422 ||
		!s.upload.stage.busy() {
		t.Errorf("%d, and the stage is %d", code, s.upload.stage)
	}
	s.upload.leave()
	owner.upload(severalFiles(token, 10, "a.ovpn", "ca.crt", "b.ovpn"))
	owner.shows("profiles.zip works")
	_, content, _ := service.last()
	archive, err := zip.NewReader(strings.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range archive.File {
		names = append(names, f.Name)
		if f.UncompressedSize64 != 10 {
			t.Errorf("%s has %d bytes", f.Name, f.UncompressedSize64)
		}
	}
	if got := strings.Join(names, " "); got != "a.ovpn ca.crt b.ovpn" {
		t.Errorf("the archive has %s", got)
	}
}

// TestSeveralInBrowser: what a browser sends of several files is a collection of profiles.
func TestSeveralInBrowser(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	service := serveImports(t, s, works)
	dir := t.TempDir()
	var files []string
	for _, name := range []string{"nl 1.ovpn", "bücher.ovpn", "ca.crt"} {
		files = append(files, filepath.Join(dir, name))
		if err := os.WriteFile(files[len(files)-1], []byte("client\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, ownerPassword)
	b.Click("#to-profile")
	b.See("#file")
	b.Choose("#file", files...)
	b.Click("#upload")
	b.WaitFor(`document.querySelector("#apply")`)
	_, content, _ := service.last()
	kept := filepath.Join(t.TempDir(), "kept")
	if err := os.WriteFile(kept, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err := profile.LoadAll(kept, nil, profile.Options{})
	if err == nil || !strings.Contains(err.Error(), "bücher.ovpn: it names no server") {
		t.Errorf("the collection: %v", err)
	}
}
