package controller

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ztbridge/bridge/statefile"
	"ztbridge/bridge/zerotier"
)

// recordName is the file in the state directory that names what setup added.
const recordName = "zerotier-setup.json"

// Record is what setup added to one network. It is written before the request that it is about, so
// that an interruption leaves nothing unnamed.
type Record struct {
	Network    zerotier.NetworkID `json:"network"`
	Controller Kind               `json:"controller"`
	Box        zerotier.Address   `json:"box"`
	Made       bool               `json:"made,omitempty"`      // setup made the network
	BoxWasNew  bool               `json:"boxWasNew,omitempty"` // setup added the box
	Changes    []Change           `json:"changes"`
}

// Making is a network that is about to be made: Known lists those that were there before.
type Making struct {
	Controller Kind                 `json:"controller"`
	Name       string               `json:"name"`
	Known      []zerotier.NetworkID `json:"known"`
}

// Records is the content of the file.
type Records struct {
	Networks []Record `json:"networks,omitempty"`
	Making   *Making  `json:"making,omitempty"`

	path string
}

// ReadRecords returns the records in a state directory; none if there is no file yet.
func ReadRecords(stateDir string) (*Records, error) {
	r := &Records{path: filepath.Join(stateDir, recordName)}
	raw, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err == nil {
		err = json.Unmarshal(raw, r)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what setup added: %s: %w", r.path, err)
	}
	return r, nil
}

// Of returns the record of a network, and whether there is one.
func (r *Records) Of(id zerotier.NetworkID) (Record, bool) {
	i := slices.IndexFunc(r.Networks, func(n Record) bool { return n.Network == id })
	if i < 0 {
		return Record{}, false
	}
	return r.Networks[i], true
}

// Note adds a plan that is about to be applied to the record of its network, and writes the file.
// What an earlier run noted stays: it knew the network as it was before.
func (r *Records) Note(kind Kind, p Plan, made bool) error {
	rec, known := r.Of(p.Network.ID)
	if !known {
		rec = Record{Network: p.Network.ID, Controller: kind, Box: p.Box.Address, Made: made,
			BoxWasNew: p.BoxIsNew}
	}
	for _, c := range p.Changes {
		modes := slices.IndexFunc(rec.Changes,
			func(old Change) bool { return old.Item == ItemV6Modes && c.Item == ItemV6Modes })
		if modes >= 0 {
			rec.Changes[modes].V6 = c.V6 // WasV6 stays: the modes before the first run
			continue
		}
		opposite := c
		opposite.Remove = !c.Remove
		// What setup takes back itself was its own, or is back as it was.
		if !slices.ContainsFunc(rec.Changes, c.same) &&
			!slices.ContainsFunc(rec.Changes, opposite.same) {
			rec.Changes = append(rec.Changes, c)
		}
	}
	r.Networks = append(slices.DeleteFunc(r.Networks,
		func(n Record) bool { return n.Network == rec.Network }), rec)
	r.Making = nil
	return r.write()
}

// NoteMaking records that a network is about to be made, and writes the file.
func (r *Records) NoteMaking(kind Kind, name string, there []Network) error {
	r.Making = &Making{Controller: kind, Name: name}
	for _, n := range there {
		r.Making.Known = append(r.Making.Known, n.ID)
	}
	return r.write()
}

// Unfinished returns the network that an interrupted run made and did not record, out of those
// present now.
func (r *Records) Unfinished(kind Kind, there []Network) (Network, bool) {
	if r.Making == nil || r.Making.Controller != kind {
		return Network{}, false
	}
	there = slices.DeleteFunc(slices.Clone(there), func(n Network) bool {
		return slices.Contains(r.Making.Known, n.ID) || len(n.Routes) > 0
	})
	if len(there) != 1 {
		return Network{}, false // none, or a person made some as well: none can be told for ours
	}
	return there[0], true
}

// Drop removes the record of a network and writes the file, or removes it if nothing is left.
func (r *Records) Drop(id zerotier.NetworkID) error {
	r.Networks = slices.DeleteFunc(r.Networks, func(n Record) bool { return n.Network == id })
	return r.write()
}

func (r *Records) write() error {
	if len(r.Networks) == 0 && r.Making == nil {
		if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("removing what setup noted: %w", err)
		}
		return nil
	}
	raw, err := json.MarshalIndent(r, "", "  ")
	if err == nil {
		err = os.MkdirAll(filepath.Dir(r.path), 0o700)
	}
	if err == nil {
		err = statefile.Write(r.path, append(raw, '\n'))
	}
	if err != nil {
		return fmt.Errorf("noting what setup adds: %w", err)
	}
	return nil
}
