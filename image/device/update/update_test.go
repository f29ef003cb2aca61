package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

const slotSize = 3*chunk + 512

// slotContent looks like a slot: a boot sector, and content that tells versions apart.
func slotContent(fill byte) []byte {
	b := bytes.Repeat([]byte{fill}, slotSize)
	b[510], b[511] = 0x55, 0xaa
	return b
}

type fixture struct {
	*Box
	key      ed25519.PrivateKey
	dir      string
	health   Health
	healthy  error
	setup    error
	writable bool
}

// newFixture is a box that runs slot A, with files in place of partitions.
func newFixture(t *testing.T) *fixture {
	t.Helper()
	dir := t.TempDir()
	f := &fixture{dir: dir, key: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))}
	f.Box = &Box{RunDir: filepath.Join(dir, "run"), ConfigDir: filepath.Join(dir, "fat"),
		DataDir:     filepath.Join(dir, "data"),
		ReleaseFile: filepath.Join(dir, "image.json"), KeyFile: filepath.Join(dir, "update.pub"),
		Config: filepath.Join(dir, "ztbridge.yaml"), Told: filepath.Join(dir, "told/updates.json"),
		Writable: func(on bool) error { f.writable = on; return nil },
	}
	f.Box.Setup = func(context.Context) error { return f.setup }
	f.Box.Health = func(context.Context) (Health, error) {
		h := f.health
		h.at = time.Now() // a daemon at work has looked again
		return h, f.healthy
	}
	env, err := grubenv.Block{grubenv.Active: "A", grubenv.Try: "", grubenv.Left: "0",
		grubenv.Data: "1"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"run/slot": []byte("A\n"), "run/slot-a": slotContent('a'), "run/slot-b": make([]byte,
			slotSize), "fat/grub/grubenv": env,
		"ztbridge.yaml": []byte("egress: {}"), "image.json": []byte(
			`{"target":"cloud-amd64","version":"1"}`),
		"update.pub": EncodeKey(f.key.Public().(ed25519.PublicKey)),
	} {
		f.write(t, name, content)
	}
	return f
}

func (f *fixture) write(t *testing.T, name string, content []byte) {
	t.Helper()
	file := filepath.Join(f.dir, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, content, 0o644); err != nil {
		t.Fatal(err)
	}
}

func (f *fixture) read(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (f *fixture) env(t *testing.T) grubenv.Block {
	t.Helper()
	env, err := grubenv.Load(f.envFile())
	if err != nil {
		t.Fatal(err)
	}
	return env
}

func (f *fixture) bundle(t *testing.T, target string, key ed25519.PrivateKey) []byte {
	t.Helper()
	return f.bundleWith(t, Manifest{Target: target, Version: "2"}, key)
}

func (f *fixture) bundleWith(t *testing.T, m Manifest, key ed25519.PrivateKey) []byte {
	t.Helper()
	var packed, out bytes.Buffer
	w, err := zstd.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(slotContent('b')); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	f.write(t, "slot.zst", packed.Bytes())
	if err := Write(&out, m, filepath.Join(f.dir, "slot.zst"), key); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// boots plays the boot loader: it clears the try before it starts it.
func (f *fixture) boots(t *testing.T) box.Slot {
	t.Helper()
	env := f.env(t)
	slot := env[grubenv.Active]
	if env[grubenv.Left] == "1" {
		slot, env[grubenv.Left] = env[grubenv.Try], "0"
		if err := env.Save(f.envFile()); err != nil {
			t.Fatal(err)
		}
	}
	f.write(t, "run/slot", []byte(slot+"\n"))
	return box.Slot(slot)
}

func (f *fixture) state(t *testing.T) State {
	t.Helper()
	s, err := f.Status()
	if err != nil {
		t.Fatal(err)
	}
	return s.State
}

func TestGoodUpdateStays(t *testing.T) {
	f := newFixture(t)
	f.health = Health{Errors: []string{"tunnel-down provider"}}
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(f.read(t, "run/slot-b"), slotContent('b')) ||
		!bytes.Equal(f.read(t, "run/slot-a"), slotContent('a')) {
		t.Error("the slots are not the old and the new system")
	}
	if f.writable || f.state(t) != Prepared {
		t.Errorf("writable %v, state %s", f.writable, f.state(t))
	}
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); !errors.Is(err, ErrPending) {
		t.Errorf("a second update before the trial: %v", err)
	}
	if got := f.boots(t); got != box.B || f.state(t) != Trying {
		t.Fatalf("booted %s, state %s", got, f.state(t))
	}
	// The same failure as before is not the update's.
	if err := f.EndTrial(context.Background(), shortTrial); err != nil {
		t.Fatal(err)
	}
	if got := f.boots(t); got != box.B || f.state(t) != InUse {
		t.Errorf("after the outcome: booted %s, state %s", got, f.state(t))
	}
	f.rollback(t, InUse)
	if got := f.boots(t); got != box.A || f.state(t) != Trying {
		t.Errorf("after the rollback: booted %s, state %s", got, f.state(t))
	}
}

func TestBadUpdateGoes(t *testing.T) {
	tests := map[string]func(f *fixture){
		"a new error": func(f *fixture) {
			f.health = Health{Errors: []string{"zerotier-down"}}
		},
		"the daemon is silent": func(f *fixture) { f.healthy = errors.New("connection refused") },
	}
	for name, spoil := range tests {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			if _, err := f.Apply(context.Background(),
				bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
				t.Fatal(err)
			}
			f.boots(t)
			spoil(f)
			if err := f.EndTrial(context.Background(), Trial{Timeout: 20 * time.Millisecond,
				Every: time.Millisecond, Looks: 3}); !errors.Is(err, ErrUnhealthy) {
				t.Errorf("outcome: %v", err)
			}
			if got := f.boots(t); got != box.A || f.state(t) != FellBack {
				t.Errorf("after the outcome: booted %s, state %s", got, f.state(t))
			}
			if _, err := f.Rollback(context.Background()); !errors.Is(err, ErrNoOther) {
				t.Errorf("rolling back to the system that failed: %v", err)
			}
		})
	}
}

func TestRefusedBundlesChangeNothing(t *testing.T) {
	f := newFixture(t)
	good := f.bundle(t, "cloud-amd64", f.key)
	other := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{8}, ed25519.SeedSize))
	flip := func(at int) []byte {
		b := bytes.Clone(good)
		b[at] ^= 1
		return b
	}
	tests := []struct {
		name   string
		bundle []byte
		want   error
	}{
		{"signed by another", f.bundle(t, "cloud-amd64", other), ErrSignature},
		{"for another machine", f.bundle(t, "rpi-arm64", f.key), ErrTarget},
		{"manifest changed", flip(len(magic) + 10), ErrSignature},
		{"length changed", flip(len(magic) + 3), ErrSignature},
		{"payload changed", flip(len(good) - 5), ErrDamaged},
		{"truncated in the payload", good[:len(good)-1], ErrDamaged},
		{"truncated in the signature", good[:len(magic)+4+20], ErrDamaged},
		{"longer than signed", append(bytes.Clone(good), 0), ErrDamaged},
		{"empty", nil, ErrNotBundle},
		{"something else", []byte(strings.Repeat("#!/bin/sh\n", 10)), ErrNotBundle},
	}
	before := [][]byte{f.read(t, "run/slot-a"), f.read(t, "run/slot-b"),
		f.read(t, "fat/grub/grubenv")}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := f.Apply(context.Background(), bytes.NewReader(tt.bundle), false)
			if !errors.Is(err, tt.want) {
				t.Errorf("error = %v, want %v", err, tt.want)
			}
			after := [][]byte{f.read(t, "run/slot-a"), f.read(t, "run/slot-b"),
				f.read(t, "fat/grub/grubenv")}
			if !slices.EqualFunc(before, after, bytes.Equal) {
				t.Error("a slot or the boot variables changed")
			}
		})
	}
}

// A bundle that does not fit says so, and leaves what is in the slot.
func TestBundleLargerThanTheSlot(t *testing.T) {
	f := newFixture(t)
	f.write(t, "run/slot-b", []byte("small"))
	_, err := f.Apply(context.Background(), bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)),
		false)
	if !errors.Is(err, ErrTooLarge) || strings.Contains(err.Error(), "%!") {
		t.Errorf("error %v", err)
	}
	if got := f.read(t, "run/slot-b"); string(got) != "small" {
		t.Errorf("the slot has %d bytes", len(got))
	}
}

// A context that ends in the middle is like a power cut: the slot must not pass for a system.
func TestInterruptedWriteIsNoSystem(t *testing.T) {
	f := newFixture(t)
	f.write(t, "run/slot-b", slotContent('o'))
	bundle := f.bundle(t, "cloud-amd64", f.key)
	ctx, cancel := context.WithCancel(context.Background())
	f.Box.Health = func(context.Context) (Health, error) { cancel(); return Health{}, nil }
	if _, err := f.Apply(ctx, bytes.NewReader(bundle), false); !errors.Is(err, context.Canceled) {
		t.Fatalf("error = %v", err)
	}
	if got := f.boots(t); got != box.A {
		t.Errorf("booted %s", got)
	}
	if _, err := f.Rollback(context.Background()); !errors.Is(err, ErrNoOther) {
		t.Errorf("rolling back to half a system: %v", err)
	}
}

func TestNoApplianceNoKey(t *testing.T) {
	f := newFixture(t)
	if err := os.Remove(f.KeyFile); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); !errors.Is(err, ErrNoKey) {
		t.Errorf("without a key: %v", err)
	}
	f.RunDir = filepath.Join(f.dir, "none")
	if _, err := f.Status(); !errors.Is(err, ErrNoAppliance) {
		t.Errorf("on another machine: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	f.Add([]byte(magic))
	f.Add([]byte(magic + "\x00\x00\x00\x02{}" + strings.Repeat("s", 64)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if bundle, err := Open(bytes.NewReader(b), key.Public().(ed25519.PublicKey)); err == nil {
			t.Errorf("a bundle that nobody signed was accepted: %+v", bundle.Manifest)
		}
	})
}

// FuzzManifest signs whatever it is given: a manifest from a builder with mistakes must not make
// the box read, write or allocate without bounds.
func FuzzManifest(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	f.Add([]byte(`{"target":"t","version":"2","slot_size":1,"payload_size":3}`), []byte("abc"))
	f.Add([]byte(`{"slot_size":-1,"payload_size":9223372036854775807}`), []byte{})
	f.Add([]byte(`{"created":"2026-01-01T00:00:00Z","version":"\u0000"}`), []byte{})
	f.Fuzz(func(t *testing.T, manifest, payload []byte) {
		if len(manifest) > maxManifest {
			t.Skip()
		}
		signed := append(binary.BigEndian.AppendUint32([]byte(magic), uint32(len(manifest))),
			manifest...)
		b, err := Open(bytes.NewReader(slices.Concat(signed, ed25519.Sign(key, signed), payload)),
			key.Public().(ed25519.PublicKey))
		if err != nil {
			return
		}
		if b.Manifest.PayloadSize != int64(len(payload)) || b.Manifest.SlotSize > maxSlot {
			t.Errorf("accepted: %+v", b.Manifest)
		}
		_ = b.Manifest.Age(time.Now())
		_ = checkRises(b.Manifest.Version, "1.0")
	})
}
