package web

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"ztbridge/bridge/api"
)

// uploadView is the page on which a provider's profile is uploaded.
type uploadView struct {
	uploadLive
	Fault  string // why the last one was refused
	Done   string // what has come of it
	Exits  []string
	Rules  []ruleChoice
	Target string // that was chosen: "=provider", or "+" for a new exit
	Name   string // of a new exit
	User   string
	MaxMB  int
	Manual string
}

// uploadLive is the part that changes while something is done.
type uploadLive struct {
	Working string // what is being done; empty: nothing
	Ready   bool   // it connects, and may be put in force
	Warning string // what does not pass through it nevertheless
	File    string
	Egress  string
	Replace bool
	Lines   []api.Progress
	Token   string
}

type ruleChoice struct {
	Number int
	Text   string
}

// live says how far the upload is.
func (s *Server) live(of *session) (uploadLive, stage, error) {
	u := &s.upload
	u.mu.Lock()
	defer u.mu.Unlock()
	v := uploadLive{File: u.request.File, Egress: u.request.Egress, Replace: u.request.Replace,
		Lines: slices.Clone(u.lines), Token: of.token}
	switch u.stage {
	case receiving:
		v.Working = "Receiving a file"
	case trying:
		v.Working = "Trying " + u.request.File
	case putting:
		v.Working = "Putting it in force"
	case tried:
		v.Ready, v.Warning = true, trialFault(u.failed)
	}
	return v, u.stage, u.failed
}

func (s *Server) uploadPage(w http.ResponseWriter, r *http.Request) {
	s.upload.mu.Lock()
	request := s.upload.request
	s.upload.mu.Unlock()
	s.showUpload(w, r, request, nil)
}

// firstExit is what the first exit of a box is called unless its owner has a better name.
const firstExit = "provider"

// showUpload answers with the form, filled in with a request, or with how far an upload is.
func (s *Server) showUpload(w http.ResponseWriter, r *http.Request, request api.ImportRequest,
	err error) {
	live, at, failed := s.live(sessionOf(r))
	v := uploadView{uploadLive: live, Name: request.Egress, User: request.Username,
		Target: "+", MaxMB: maxUpload >> 20}
	if _, err := os.Stat(s.config.ImportSocket); err != nil {
		v.Manual = sentence(api.Hint(api.ErrNoImporter))
	}
	switch {
	case err != nil:
		v.Fault = trialFault(err)
	case at == refused:
		v.Fault = trialFault(failed)
	case at == done && len(live.Lines) > 0:
		v.Done = sentence(live.Lines[len(live.Lines)-1].Text) + "."
		v.Name = ""
	}
	status := s.config.Backend.Status()
	for _, e := range status.Egresses {
		if e.Kind == "openvpn" {
			v.Exits = append(v.Exits, e.Name)
		}
	}
	if request.Replace || request.Egress == "" && len(v.Exits) > 0 {
		v.Target, v.Name = "="+request.Egress, ""
	}
	if len(v.Exits) == 0 && v.Name == "" && v.Done == "" {
		v.Name = firstExit
	}
	for _, p := range status.Policies {
		var n int
		if _, err := fmt.Sscanf(p.Name, "policy[%d]", &n); err == nil && len(p.Wanted) > 0 {
			v.Rules = append(v.Rules, ruleChoice{n + 1, fmt.Sprintf("Rule %d: %s by %s", n+1,
				namesOf(p), strings.Join(p.Wanted, ", then "))})
		}
	}
	s.page(w, r, codeOf(err), "profile",
		frame{Title: "Upload a profile", Active: "status", Body: v})
}

// uploadProgress is the live part alone. When nothing is done any more, the browser loads the page
// again.
func (s *Server) uploadProgress(w http.ResponseWriter, r *http.Request) {
	live, _, _ := s.live(sessionOf(r))
	if live.Working == "" {
		w.Header().Set("HX-Refresh", "true")
		return
	}
	var b bytes.Buffer
	if err := s.templates["profile"].ExecuteTemplate(&b, "progress", live); err != nil {
		s.config.Log.Error("making the page of an upload failed", "error", err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // a browser that went away misses nothing
}

// trialFault says what is wrong with an upload. An error may begin with the name of a file.
func trialFault(err error) string {
	if err == nil {
		return ""
	}
	return strings.TrimSpace("That did not work: " + err.Error() + ". " + sentence(api.Hint(err)))
}
