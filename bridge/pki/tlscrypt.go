package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/pem"
	"errors"
	"fmt"
	"time"
)

// tls-crypt-v2 (OpenVPN doc/tls-crypt-v2.txt): the server has one key; each client has its own key
// Kc, and carries it along wrapped for the server, so that the server keeps no list:
//
//	server key   128 random bytes; Ke = [0:32], Ka = [64:96]
//	client key   Kc (256 bytes) ‖ WKc
//	WKc          T ‖ AES-256-CTR(Ke, IV = T[:16], Kc ‖ metadata) ‖ len(WKc) as 16 bits
//	T            HMAC-SHA256(Ka, len(WKc) ‖ Kc ‖ metadata)
//	metadata     0x01 ‖ time of issue in Unix seconds, 64 bits
const (
	cryptServerLen = 128
	cryptClientLen = 256
	cryptTagLen    = sha256.Size

	pemCryptServer = "OpenVPN tls-crypt-v2 server key"
	pemCryptClient = "OpenVPN tls-crypt-v2 client key"

	metadataTime = 0x01
)

var errWrappedKey = errors.New("not a tls-crypt-v2 client key of this server")

// newCryptServerKey returns a new server key in PEM.
func newCryptServerKey() ([]byte, error) {
	key := make([]byte, cryptServerLen)
	if _, err := rand.Read(key); err != nil {
		return nil, fmt.Errorf("making a tls-crypt-v2 key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemCryptServer, Bytes: key}), nil
}

// newCryptClientKey returns a new client key in PEM, wrapped for the server whose key is given.
func newCryptClientKey(serverPEM []byte, issued time.Time) ([]byte, error) {
	kc := make([]byte, cryptClientLen)
	if _, err := rand.Read(kc); err != nil {
		return nil, fmt.Errorf("making a tls-crypt-v2 key: %w", err)
	}
	meta := binary.BigEndian.AppendUint64([]byte{metadataTime}, uint64(issued.Unix()))
	wrapped, err := wrapCryptKey(serverPEM, kc, meta)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: pemCryptClient, Bytes: append(kc, wrapped...)}), nil
}

func wrapCryptKey(serverPEM, kc, meta []byte) ([]byte, error) {
	ke, ka, err := cryptServerKeys(serverPEM)
	if err != nil {
		return nil, err
	}
	plain := append(append([]byte(nil), kc...), meta...)
	total := binary.BigEndian.AppendUint16(nil, uint16(cryptTagLen+len(plain)+2))
	tag := cryptTag(ka, total, plain)
	sealed, err := cryptCTR(ke, tag, plain)
	if err != nil {
		return nil, err
	}
	return append(append(tag, sealed...), total...), nil
}

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

func cryptServerKeys(serverPEM []byte) (ke, ka []byte, err error) {
	block, _ := pem.Decode(serverPEM)
	if block == nil || block.Type != pemCryptServer || len(block.Bytes) != cryptServerLen {
		return nil, nil, errors.New("reading the server's tls-crypt-v2 key: it is damaged")
	}
	return block.Bytes[0:32], block.Bytes[64:96], nil
}

func cryptTag(ka, total, plain []byte) []byte {
	mac := hmac.New(sha256.New, ka)
	_, _ = mac.Write(total) // a hash never fails to write
	_, _ = mac.Write(plain)
	return mac.Sum(nil)
}

func cryptCTR(ke, tag, in []byte) ([]byte, error) {
	block, err := aes.NewCipher(ke)
	if err != nil {
		return nil, fmt.Errorf("wrapping a tls-crypt-v2 key: %w", err)
	}
	out := make([]byte, len(in))
	cipher.NewCTR(block, tag[:aes.BlockSize]).XORKeyStream(out, in)
	return out, nil
}
