package web

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"ztbridge/bridge/api"
)

const (
	// maxUpload bounds a provider's files, in bytes; maxParts how many parts the form has, files
	// included, and maxField the rest of it.
	// maxSent is how much is read of a larger one, and thrown away: a browser shows no answer to a
	// form before it has sent all of it.
	maxUpload = 32 << 20
	maxSent   = 1 << 30
	maxParts  = 512
	maxField  = 4 << 10
	// uploadTime is how long an upload may take, importTime what is done with it, and keepUpload
	// how long a file waits for its owner.
	uploadTime = 10 * time.Minute
	importTime = 5 * time.Minute
	keepUpload = 30 * time.Minute
	// maxProgress bounds how many lines are shown.
	maxProgress = 200
)

// stage is how far an upload is.
type stage int

// none ─▶ receiving ─▶ trying ─▶ tried ─▶ putting ─▶ done
//
//	▲                     └─▶ refused ◀───────┘         │
//	└──────────── discard, or 30 minutes ───────────────┘
const (
	none      stage = iota
	receiving       // the file comes in
	trying          // the profile is checked and connected
	tried           // it connects: its owner may put it in force
	putting         // it is put in force
	done            // it is in force
	refused         // it was not, and why is known
)

// busy reports whether something is being done.
func (s stage) busy() bool { return s == receiving || s == trying || s == putting }

// upload is the one provider's file that is dealt with at a time. Safe for concurrent use.
type upload struct {
	mu      sync.Mutex
	stage   stage
	request api.ImportRequest
	lines   []api.Progress
	failed  error // why it was refused, or what does not pass through the tunnel
	since   time.Time
}

// uploadPath returns where the file is.
func (s *Server) uploadPath() string { return filepath.Join(s.config.Dir, ".upload") }

func (s *Server) routeUpload(mux *http.ServeMux) {
	mux.HandleFunc("GET "+uploadPage, s.role(s.uploadPage, Owner))
	mux.HandleFunc("GET "+uploadPage+"/progress", s.role(s.uploadProgress, Owner))
	// The form's token is read with its file.
	mux.HandleFunc("POST "+uploadPage, s.role(s.once(s.takeUpload), Owner))
	mux.HandleFunc("POST "+uploadPage+"/apply", s.form(s.once(s.applyUpload)))
	mux.HandleFunc("POST "+uploadPage+"/discard", s.form(s.discardUpload))
}

// uploadPage is the page's path.
const uploadPage = "/profile"

// errForm is a form that cannot be read; no browser sends such a one.
var errForm = errors.New("the form could not be read")

// errParts is a form with more files than are taken one by one.
var errParts = &api.HintedError{Err: fmt.Errorf("these are more than %d files", maxParts),
	Hint: "put them into one ZIP archive"}

// errUploading refuses a second upload.
var errUploading = &api.HintedError{Err: errors.New("another profile is being dealt with"),
	Hint: "wait until that is done"}

// takeUpload receives a file with its form, and has it tried.
func (s *Server) takeUpload(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Now().Add(uploadTime))
	_ = control.SetWriteDeadline(time.Now().Add(uploadTime + ioTimeout))
	request, err := s.receive(r)
	if errors.Is(err, errToken) {
		s.outOfDate(w, r)
		return
	}
	if err == nil {
		err = s.begin(request, trying)
	}
	if err != nil {
		s.record(r, "upload a profile", err)
		_, _ = io.Copy(io.Discard, r.Body)
		s.showUpload(w, r, request, err)
		return
	}
	s.work(r, fmt.Sprintf("try %.60q for the exit %.40q", request.File, request.Egress), request,
		tried)
	http.Redirect(w, r, uploadPage, http.StatusSeeOther)
}

// errToken is a form that this page has not made for this session.
var errToken = errors.New("the form is out of date")

// receive reads the form, and writes the file to its place. Nothing is written before the form's
// token, its first field, was right.
func (s *Server) receive(r *http.Request) (out api.ImportRequest, err error) {
	parts, err := r.MultipartReader()
	if err != nil {
		return out, errToken
	}
	fields := map[string][]string{}
	files := &uploaded{s: s}
	defer func() { files.close(err) }()
	for n := 0; n < maxParts; n++ {
		part, err := parts.NextPart()
		if errors.Is(err, io.EOF) {
			if out.File, out.Size, err = files.done(); err != nil {
				return out, err
			}
			return requestOf(out, fields)
		}
		if err != nil {
			return out, fmt.Errorf("receiving the form: %w", err)
		}
		if n == 0 {
			given, err := readField(part)
			if err != nil || part.FormName() != "token" || !sessionOf(r).allows(given) {
				return out, errToken
			}
			continue
		}
		if part.FormName() != "file" {
			value, err := readField(part)
			if err != nil {
				return out, err
			}
			fields[part.FormName()] = append(fields[part.FormName()], value)
			continue
		}
		if err := files.add(part); err != nil {
			return out, err
		}
	}
	return out, errParts
}

func readField(part *multipart.Part) (string, error) {
	data, err := io.ReadAll(io.LimitReader(part, maxField+1))
	if err != nil || len(data) > maxField {
		return "", errForm
	}
	return string(data), nil
}

// requestOf fills in what the form's fields say.
func requestOf(out api.ImportRequest, fields map[string][]string) (api.ImportRequest, error) {
	get := func(name string) string { return strings.Join(fields[name], "") }
	out.Verb, out.LegacyCrypto = api.ImportTry, get("legacy") != ""
	out.Egress, out.Replace = strings.CutPrefix(get("target"), "=")
	out.Username, out.Password = get("username"), get("password")
	out.Passphrase = get("passphrase")
	if !out.Replace {
		out.Egress = strings.TrimSpace(get("name"))
		for _, text := range fields["rule"] {
			if n, err := strconv.Atoi(text); err == nil {
				out.Rules = append(out.Rules, n)
			}
		}
	}
	switch {
	case out.File == "" || out.Size == 0:
		return out, errors.New("choose the file that your provider gave you")
	case out.Egress == "":
		return out, errors.New("give the new exit a name")
	}
	return out, nil
}

// leave ends the receiving of a file that came to nothing.
func (u *upload) leave() {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stage == receiving {
		u.stage = none
	}
}

// begin enters a stage in which something is done, unless something else is being done.
func (s *Server) begin(r api.ImportRequest, to stage) error {
	u := &s.upload
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stage.busy() && (u.stage != receiving || to != trying) ||
		to == putting && u.stage != tried {
		return errUploading
	}
	u.stage, u.request, u.lines, u.failed, u.since = to, r, nil, nil, s.config.Now()
	return nil
}

// work has a request carried out beside the request of the browser, which may go away.
func (s *Server) work(r *http.Request, what string, request api.ImportRequest, after stage) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), importTime)
	go func() {
		defer cancel()
		connected := false
		err := s.importFile(ctx, request, func(p api.Progress) {
			connected = connected || p.Connected
			s.upload.add(p)
		})
		s.record(r, what, err)
		s.upload.end(after, err, connected, s.config.Now())
		if after == done || err != nil && !connected {
			if err := s.forget(); err != nil {
				s.config.Log.Warn("removing an upload failed", "error", err)
			}
		}
		time.AfterFunc(keepUpload, s.expire)
	}()
}

func (s *Server) importFile(ctx context.Context, r api.ImportRequest,
	each func(api.Progress)) error {
	f, err := os.Open(s.uploadPath())
	if err != nil {
		return fmt.Errorf("reading the upload: %w", err)
	}
	defer f.Close()
	return api.Import(ctx, s.config.ImportSocket, r, f, each)
}

// add takes a line of progress over.
func (u *upload) add(p api.Progress) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if p.Text != "" && len(u.lines) < maxProgress {
		u.lines = append(u.lines, p)
	}
}

// end leaves a stage in which something was done. A tunnel that came up may be put in force, also
// if not all of what was tried passed.
func (u *upload) end(after stage, err error, connected bool, now time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.stage, u.failed, u.since = after, err, now
	if err != nil && (after == done || !connected) {
		u.stage = refused
	}
	if u.stage != tried {
		u.request.Password, u.request.Passphrase = "", ""
	}
}

// applyUpload puts what was tried in force.
func (s *Server) applyUpload(w http.ResponseWriter, r *http.Request) {
	s.upload.mu.Lock()
	request := s.upload.request
	s.upload.mu.Unlock()
	request.Verb = api.ImportAdd
	if request.Replace {
		request.Verb = api.ImportReplace
	}
	if err := s.begin(request, putting); err != nil {
		s.record(r, "put a profile in force", err)
		s.refuseError(w, r, err)
		return
	}
	s.work(r, fmt.Sprintf("put %.60q in force as the exit %.40q", request.File, request.Egress),
		request, done)
	http.Redirect(w, r, uploadPage, http.StatusSeeOther)
}

// discardUpload forgets what was uploaded.
func (s *Server) discardUpload(w http.ResponseWriter, r *http.Request) {
	if !s.upload.clear(0, s.config.Now()) {
		s.refuseError(w, r, errUploading)
		return
	}
	if err := s.forget(); err != nil {
		s.config.Log.Warn("removing an upload failed", "error", err)
	}
	http.Redirect(w, r, uploadPage, http.StatusSeeOther)
}

// expire forgets an upload that its owner left alone.
func (s *Server) expire() {
	if s.upload.clear(keepUpload, s.config.Now()) {
		_ = s.forget() // the next one takes its place
	}
}

// clear forgets an upload of an age with which nothing is being done, and reports whether it did.
func (u *upload) clear(age time.Duration, now time.Time) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.stage.busy() || now.Sub(u.since) < age {
		return false
	}
	u.stage, u.request, u.lines, u.failed = none, api.ImportRequest{}, nil, nil
	return true
}

// forget removes the file.
func (s *Server) forget() error {
	if err := os.Remove(s.uploadPath()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("removing the upload: %w", err)
	}
	return nil
}
