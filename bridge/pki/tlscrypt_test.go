package pki

import (
	"crypto/hmac"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

func decodePEM(data []byte) ([]byte, []byte) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, rest
	}
	return block.Bytes, rest
}

var errWrappedKey = errors.New("not a tls-crypt-v2 client key of this server")

// unwrapCryptKey returns the time of issue of a client key, after checking that the server whose
// key is given wrapped it.
func unwrapCryptKey(serverPEM, clientPEM []byte) (time.Time, error) {
	ke, ka, err := cryptServerKeys(serverPEM)
	if err != nil {
		return time.Time{}, err
	}
	block, _ := pem.Decode(clientPEM)
	const metaLen = 9
	const want = cryptClientLen + cryptTagLen + cryptClientLen + metaLen + 2
	if block == nil || block.Type != pemCryptClient || len(block.Bytes) != want {
		return time.Time{}, errWrappedKey
	}
	kc, wrapped := block.Bytes[:cryptClientLen], block.Bytes[cryptClientLen:]
	tag, sealed, total := wrapped[:cryptTagLen], wrapped[cryptTagLen:len(wrapped)-2],
		wrapped[len(wrapped)-2:]
	plain, err := cryptCTR(ke, tag, sealed)
	if err != nil {
		return time.Time{}, err
	}
	if !hmac.Equal(tag, cryptTag(ka, total, plain)) || !hmac.Equal(kc, plain[:cryptClientLen]) {
		return time.Time{}, errWrappedKey
	}
	meta := plain[cryptClientLen:]
	if meta[0] != metadataTime {
		return time.Time{}, errWrappedKey
	}
	return time.Unix(int64(binary.BigEndian.Uint64(meta[1:])), 0), nil
}

func TestCryptV2RoundTrip(t *testing.T) {
	server := newCryptServerKey()
	issued := time.Unix(1770000000, 0)
	client, err := newCryptClientKey(server, issued)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unwrapCryptKey(server, client); err != nil || !got.Equal(issued) {
		t.Errorf("unwrapped %v, %v; want %v", got, err, issued)
	}
	other := newCryptServerKey()
	if _, err := unwrapCryptKey(other, client); err == nil {
		t.Error("another server took the key for its own")
	}
}

// TestCryptV2AgainstOpenVPN lets openvpn wrap a client key for our server key, and unwraps it.
func TestCryptV2AgainstOpenVPN(t *testing.T) {
	openvpn, err := exec.LookPath("openvpn")
	if err != nil {
		t.Skip("SKIPPED: openvpn is not installed, so the key format is not checked against it")
	}
	dir := t.TempDir()
	server := newCryptServerKey()
	serverPath, clientPath := filepath.Join(dir, "server"), filepath.Join(dir, "client")
	if err := os.WriteFile(serverPath, server, 0o600); err != nil {
		t.Fatal(err)
	}
	before := time.Now().Add(-time.Minute)
	out, err := exec.Command(openvpn, "--tls-crypt-v2", serverPath, "--genkey",
		"tls-crypt-v2-client", clientPath).CombinedOutput()
	if err != nil {
		t.Fatalf("openvpn refuses our server key: %v\n%s", err, out)
	}
	client, err := os.ReadFile(clientPath)
	if err != nil {
		t.Fatal(err)
	}
	issued, err := unwrapCryptKey(server, client)
	if err != nil {
		t.Fatalf("openvpn's client key: %v", err)
	}
	if issued.Before(before) || issued.After(time.Now().Add(time.Minute)) {
		t.Errorf("issued %v, want now", issued)
	}
}
