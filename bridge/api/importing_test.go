package api

import (
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// serveOnce answers one request with lines, as they are.
func serveOnce(t *testing.T, answer string, read bool) (socket string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		if read {
			_, file, err := ReadImport(conn, 1<<20)
			if err == nil {
				_, err = io.Copy(io.Discard, file)
			}
			if err != nil {
				return
			}
		}
		_, _ = io.WriteString(conn, answer)
	}()
	return socket
}

// TestImport: whatever the service says or does not say, there is an answer.
func TestImport(t *testing.T) {
	for _, tt := range []struct {
		name, answer string
		read         bool
		want, hint   string
	}{
		{"done", `{"text":"a"}` + "\n" + `{"done":true}` + "\n", true, "", ""},
		{"refused", `{"done":true,"error":"x.ovpn:3: no","hint":"do"}` + "\n", true,
			"x.ovpn:3: no", "do"},
		{"refused unread", `{"done":true,"error":"too large"}` + "\n", false, "too large", ""},
		{"killed", `{"text":"a"}` + "\n", true, "ended without an answer", "journalctl"},
		{"nonsense", "hello\n", true, "reading the answer", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := Import(t.Context(), serveOnce(t, tt.answer, tt.read),
				ImportRequest{Verb: ImportTry, Size: 3}, strings.NewReader("abc"),
				func(Progress) {})
			if tt.want == "" && err != nil || tt.want != "" && (err == nil ||
				!strings.Contains(err.Error(), tt.want) || !strings.Contains(Hint(err), tt.hint)) {
				t.Errorf("%v (%s)", err, Hint(err))
			}
		})
	}
	if err := Import(t.Context(), filepath.Join(t.TempDir(), "none"), ImportRequest{},
		strings.NewReader(""), func(Progress) {}); !errors.Is(err, ErrNoImporter) {
		t.Errorf("without a service: %v", err)
	}
}

// TestImportRequestHidesSecrets however it is printed.
func TestImportRequestHidesSecrets(t *testing.T) {
	r := ImportRequest{Username: "anna", Password: "correct horse", Passphrase: "battery"}
	for _, text := range []string{fmt.Sprint(r), fmt.Sprintf("%v %+v %#v %s", r, r, r, r),
		r.LogValue().String()} {
		for _, secret := range []string{r.Username, r.Password, r.Passphrase} {
			if strings.Contains(text, secret) {
				t.Errorf("%q holds %q", text, secret)
			}
		}
	}
}

// FuzzReadImport: no request makes the service read more than it allows, or tells what was in it.
func FuzzReadImport(f *testing.F) {
	f.Add(`{"verb":"try","file":"a.ovpn","size":3}` + "\nabc")
	f.Add(`{"verb":"add","size":-1}` + "\n")
	f.Add(`{"size":99999999999}` + "\n")
	f.Add(`{"password":"correct horse"` + "\n")
	f.Fuzz(func(t *testing.T, text string) {
		const most = 1 << 10
		r, file, err := ReadImport(strings.NewReader(text), most)
		if err != nil {
			if strings.Contains(err.Error(), "correct horse") {
				t.Errorf("it tells a secret: %v", err)
			}
			return
		}
		data, err := io.ReadAll(file)
		if err != nil || int64(len(data)) > r.Size || r.Size > most {
			t.Errorf("%d bytes of %d, %v", len(data), r.Size, err)
		}
	})
}
