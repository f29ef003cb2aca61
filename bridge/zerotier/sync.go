package zerotier

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ztbridge/bridge/health"
)

const (
	syncEvery = 10 * time.Second
	// rereadEvery is a little more than the service takes to notice a change of local.conf.
	rereadEvery = 12 * time.Second
	rereadMax   = 3
	// moonTimeout is how long a moon may take to be known (measured: 4.1 s).
	moonTimeout = 30 * time.Second
)

// confSync adds our tunnels to the service's blacklist, in local.conf and in the running service.
type confSync struct {
	home   string
	client *Local
	log    *slog.Logger

	next     time.Time
	problems []health.Problem
	rereads  int
}

// sync corrects local.conf every syncEvery and returns what is wrong with it. It does so also
// while the service is down, because the service reads the file when it starts.
func (k *confSync) sync(ctx context.Context, answers bool, now time.Time) []health.Problem {
	if !answers {
		k.rereads = 0
	}
	if now.Before(k.next) {
		return k.problems
	}
	k.next, k.problems = now.Add(syncEvery), nil
	if _, err := os.Stat(k.home); errors.Is(err, fs.ErrNotExist) {
		return nil // the state of the service says more about that
	}
	wrote, err := ensureLocalConf(k.home)
	if err != nil {
		k.problems = []health.Problem{{Code: health.ServiceLocalConf, Message: err.Error(),
			Remedy: localConfRemedy(k.home, err)}}
		return k.problems
	}
	if wrote {
		k.log.Info("zerotier local.conf changed", "blacklist", blacklist)
		k.rereads = 0
	}
	if answers {
		k.reread(ctx, now)
	}
	return k.problems
}

// reread makes the running service read local.conf again until its answer shows our prefixes.
func (k *confSync) reread(ctx context.Context, now time.Time) {
	a, err := k.client.config(ctx)
	if err != nil || a.effective() {
		return // a service that stopped answering is reported elsewhere
	}
	k.next = now.Add(rereadEvery)
	if k.rereads < rereadMax {
		k.rereads++
		if err := rereadLocalConf(k.home, now); err == nil {
			return
		}
	}
	k.problems = []health.Problem{{Code: health.ServiceBlacklist,
		Message: "zerotier-one has not read our interfacePrefixBlacklist from local.conf",
		Remedy:  "restart it: systemctl restart zerotier-one"}}
}

func localConfRemedy(home string, err error) string {
	path := filepath.Join(home, "local.conf")
	if errors.Is(err, errLocalConf) {
		return fmt.Sprintf("correct or remove %s: zerotier-one will not start with it", path)
	}
	return fmt.Sprintf("let ztbridge write %s: run it as root, and with the file system writable",
		path)
}

// moonSync makes this node a moon and makes it orbit others, as configured.
type moonSync struct {
	client *Local
	maker  moonMaker
	moon   *Moon
	orbit  []Address
	log    *slog.Logger

	next     time.Time
	asked    time.Time // when something was first not as wanted; zero: all is
	problems []health.Problem
	works    Address
}

// sync makes and orbits the moons as configured. It returns what is wrong with them, and the id
// of the moon that this node is, or zero.
func (k *moonSync) sync(ctx context.Context, f facts, now time.Time) ([]health.Problem, Address) {
	if k.moon == nil && len(k.orbit) == 0 || f.err != nil {
		k.asked = time.Time{}
		return nil, 0
	}
	if now.Before(k.next) {
		return k.problems, k.works
	}
	k.next = now.Add(syncEvery)
	k.problems, k.works = nil, 0
	pending, err := k.once(ctx, f.node.Address)
	if err == nil && len(pending) == 0 {
		k.asked = time.Time{}
		return nil, k.works
	}
	k.next = now.Add(pollTrouble)
	if k.asked.IsZero() {
		k.asked = now
	}
	switch {
	case err != nil:
		k.next = now.Add(syncEvery)
		k.problems = []health.Problem{{Code: health.ServiceMoon, Message: err.Error(),
			Remedy: "see that zerotier-idtool is installed and ztbridge may write zerotier.home"}}
	case now.Sub(k.asked) >= moonTimeout:
		k.next = now.Add(syncEvery)
		k.problems = []health.Problem{
			{Code: health.ServiceMoon, Message: fmt.Sprintf("no answer from moon %s", pending[0]),
				Remedy: "check its address, that it is up, and that UDP reaches it"}}
	}
	return k.problems, k.works
}

// once requests what is missing and returns the moons that the service does not know yet.
func (k *moonSync) once(ctx context.Context, self Address) (pending []Address, err error) {
	known, err := k.client.moons(ctx)
	if err != nil {
		return nil, err
	}
	if k.moon != nil {
		done, err := k.own(ctx, self, known)
		if err != nil {
			return nil, err
		}
		if done {
			k.works = self
		} else {
			pending = append(pending, self)
		}
	}
	for _, id := range k.orbit {
		i := slices.IndexFunc(known, func(m moonAnswer) bool { return Address(m.ID) == id })
		if i >= 0 && !known[i].Waiting {
			continue
		}
		pending = append(pending, id)
		if err := k.client.orbit(ctx, id); err != nil {
			return nil, err
		}
	}
	return pending, nil
}

// own makes and orbits this node's own moon. The service reads the file without a restart.
func (k *moonSync) own(ctx context.Context, self Address,
	known []moonAnswer) (done bool, err error) {
	made := k.maker.made(self, k.moon.Endpoints)
	i := slices.IndexFunc(known, func(m moonAnswer) bool { return Address(m.ID) == self })
	if made && i >= 0 && len(known[i].Roots) == 1 &&
		sameEndpoints(known[i].Roots[0].StableEndpoints, k.moon.Endpoints) {
		return true, nil
	}
	if i >= 0 {
		if err := k.client.deorbit(ctx, self); err != nil {
			return false, err
		}
		made = false // the service removes the file as well
	}
	if !made {
		if err := k.maker.make(ctx, self, k.moon.Endpoints); err != nil {
			return false, err
		}
		k.log.Info("zerotier moon made", "moon", self.String())
	}
	return false, k.client.orbit(ctx, self)
}
