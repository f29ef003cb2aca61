package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// held is a form that was sent and not carried out, because its log-in was over. Its sender is
// asked before it is sent again.
//
//	POST ─▶ no session ──▶ log-in form that carries it ─▶ POST /login ─▶ "Go on" ─▶ POST
//	     └▶ old token ──────────────────────────────────────────────────▶ "Go on" ─┘
type held struct {
	Path   string
	Fields url.Values // without its token
}

// resumeView is the page that asks whether to go on.
type resumeView struct {
	held
	Shown []string // what it says, without secrets
	Token string
}

// heldOf returns the form of a request. A form with a file is not read: it has only a path.
func heldOf(r *http.Request) held {
	h := held{Path: r.URL.Path}
	if r.Method != http.MethodPost ||
		strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/") || r.ParseForm() != nil {
		return h
	}
	h.Fields = r.PostForm
	h.Fields.Del("token")
	return h
}

// Encoded is the form as one field of another.
func (h held) Encoded() string { return h.Fields.Encode() }

// carried returns the form that a log-in carries; its path is empty where there is none.
func carried(r *http.Request) held {
	h := held{Path: r.PostFormValue("path")}
	fields, err := url.ParseQuery(r.PostFormValue("held"))
	if err != nil || !isLocal(h.Path) {
		return held{}
	}
	h.Fields = fields
	return h
}

// isLocal reports whether a path leads to this page, wherever a browser resolves it.
func isLocal(path string) bool {
	u, err := url.Parse(path)
	return err == nil && u.Host == "" && u.Scheme == "" && strings.HasPrefix(path, "/") &&
		!strings.HasPrefix(path, "//") && !strings.ContainsAny(path, "\\\r\n\t")
}

// secretFields are never shown as text.
var secretFields = []string{"password", "passphrase", "again", "key", "code"}

// hiddenFields say nothing to a person.
var hiddenFields = []string{"stamp", "instead", "network", "new"}

// resume asks whether a form shall be sent that was not carried out.
func (s *Server) resume(w http.ResponseWriter, r *http.Request, code int, h held) {
	v := resumeView{held: h, Token: sessionOf(r).token}
	v.Shown = strings.Split(strings.Trim(h.Path, "/"), "/")
	for name, values := range h.Fields {
		if !slices.Contains(secretFields, name) && !slices.Contains(hiddenFields, name) {
			v.Shown = append(v.Shown, values...)
		}
	}
	slices.Sort(v.Shown[strings.Count(strings.Trim(h.Path, "/"), "/")+1:])
	s.page(w, r, code, "resume", frame{Title: "Not sent yet", Body: v})
}

// askLogin answers a form whose sender is no longer logged in: with a log-in that carries it.
func (s *Server) askLogin(w http.ResponseWriter, r *http.Request) {
	v := loginView{Fault: "You are not logged in any more. Nothing was changed yet."}
	if h := heldOf(r); h.Fields != nil {
		v.held, v.Fault = h, v.Fault+" What you typed is kept: log in, and go on."
	} else {
		v.Back, v.Fault = h.Path, v.Fault+" Log in and choose the file again."
	}
	s.showLogin(w, r, http.StatusUnauthorized, v)
}

// loginFor returns where to log in for a page, to come back to it then.
func loginFor(r *http.Request) string {
	if r.URL.Path == "/" || !strings.Contains(r.Header.Get("Accept"), "text/html") {
		return "/login"
	}
	return "/login?back=" + url.QueryEscape(r.URL.RequestURI())
}
