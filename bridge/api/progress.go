package api

// Progress is a line that a command with --json prints while it works. The last one has Done.
type Progress struct {
	Text    string `json:"text,omitempty"`
	Warning bool   `json:"warning,omitempty"` // Text is something to look at
	// Connected reports whether the profile's tunnel came up.
	Connected bool `json:"connected,omitempty"`

	Done  bool   `json:"done,omitempty"`
	Error string `json:"error,omitempty"` // why it failed; empty: it did not
	Hint  string `json:"hint,omitempty"`  // what a person can do about that
}
