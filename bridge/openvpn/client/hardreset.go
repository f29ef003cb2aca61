package client

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // OpenVPN's own choice where a profile says nothing
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash"
	"strings"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// Opcodes of the control channel, in the upper five bits of a packet's first byte (ssl_pkt.h).
const (
	opHardResetClient   = 7  // P_CONTROL_HARD_RESET_CLIENT_V2
	opHardResetServer   = 8  // P_CONTROL_HARD_RESET_SERVER_V2
	opHardResetClientV3 = 10 // with a key of tls-crypt-v2 behind it
)

const (
	sessionIDBytes = 8
	// staticKeyBytes is the size of a key of tls-auth or tls-crypt. For each direction it has 64
	// bytes for a cipher and 64 for an HMAC (crypto.h: struct key2).
	staticKeyBytes = 256
	keySlotBytes   = 64
)

// digests are those of "auth" that are in use. Servers with another one are not raced.
var digests = map[string]func() hash.Hash{
	"SHA1": sha1.New, "SHA224": sha256.New224, "SHA256": sha256.New,
	"SHA384": sha512.New384, "SHA512": sha512.New,
}

// hardReset returns the packet that begins a connection, with a session id of its own. A server
// answers it before it knows or counts a user.
func hardReset(key profile.ControlKey, now time.Time) ([]byte, error) {
	session := make([]byte, sessionIDBytes)
	if _, err := rand.Read(session); err != nil {
		return nil, err
	}
	static, err := staticKeyOf(key)
	if err != nil {
		return nil, err
	}
	opcode := byte(opHardResetClient)
	if key.Kind == "tls-crypt-v2" {
		opcode = opHardResetClientV3
	}
	head := append([]byte{opcode << 3}, session...)
	// no acknowledgements, and the first packet of the reliability layer
	body := make([]byte, 1+4)
	// of the replay protection: the first packet of this session, and when it began
	id := binary.BigEndian.AppendUint32([]byte{0, 0, 0, 1}, uint32(now.Unix()))
	switch key.Kind {
	case "":
		return append(head, body...), nil
	case "tls-auth":
		return tlsAuth(key, static, head, id, body)
	}
	wrapped, err := tlsCrypt(static, append(head, id...), body)
	if err != nil || key.Kind == "tls-crypt" {
		return wrapped, err
	}
	return append(wrapped, static[staticKeyBytes:]...), nil
}

// tlsAuth signs a packet. The HMAC stands before what it is made of, in another order.
func tlsAuth(key profile.ControlKey, static, head, id, body []byte) ([]byte, error) {
	digest := digests[key.Digest]
	if digest == nil {
		return nil, fmt.Errorf("no packet can be signed with auth %s", key.Digest)
	}
	slot := keySlotBytes // without a direction, and in direction 0: the first HMAC key
	if key.Direction == "1" {
		slot = 3 * keySlotBytes
	}
	mac := hmac.New(digest, static[slot:slot+digest().Size()])
	mac.Write(bytes.Join([][]byte{id, head, body}, nil))
	return bytes.Join([][]byte{head, mac.Sum(nil), id, body}, nil), nil
}

// tlsCrypt signs and encrypts a packet with a client's keys, which are the second ones.
func tlsCrypt(static, head, body []byte) ([]byte, error) {
	mac := hmac.New(sha256.New, static[3*keySlotBytes:][:sha256.Size])
	mac.Write(head)
	mac.Write(body)
	tag := mac.Sum(nil)
	block, err := aes.NewCipher(static[2*keySlotBytes:][:32])
	if err != nil {
		return nil, err
	}
	cipher.NewCTR(block, tag[:aes.BlockSize]).XORKeyStream(body, body)
	return bytes.Join([][]byte{head, tag, body}, nil), nil
}

// staticKeyOf reads a key's block. That of tls-crypt-v2 is followed by what the server is sent.
func staticKeyOf(key profile.ControlKey) ([]byte, error) {
	var lines []string
	for line := range strings.Lines(key.Text) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "-----") {
			lines = append(lines, line)
		}
	}
	decode := hex.DecodeString
	if key.Kind == "tls-crypt-v2" {
		decode = base64.StdEncoding.DecodeString
	}
	static, err := decode(strings.Join(lines, ""))
	if err != nil || key.Kind != "" && len(static) < staticKeyBytes {
		return nil, fmt.Errorf("reading the key of %s: it is damaged", key.Kind)
	}
	return static, nil
}

// answersHardReset reports whether a packet is a server's answer to a hard reset. Whoever could
// forge one is on the way to the server, and could forge the server's silence as well.
func answersHardReset(packet []byte) bool {
	return len(packet) > sessionIDBytes && packet[0]>>3 == opHardResetServer
}
