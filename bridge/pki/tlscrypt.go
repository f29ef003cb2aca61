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
	"slices"
	"time"
)

// Keys of tls-crypt-v2 (OpenVPN doc/tls-crypt-v2.txt). The server has one key. Each client has a
// key Kc of its own and sends it wrapped for the server, so that the server keeps no list:
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

// newCryptServerKey returns a new server key in PEM.
func newCryptServerKey() []byte {
	key := make([]byte, cryptServerLen)
	rand.Read(key)
	return pem.EncodeToMemory(&pem.Block{Type: pemCryptServer, Bytes: key})
}

// newCryptClientKey returns a new client key in PEM, wrapped for the server whose key is given.
func newCryptClientKey(serverPEM []byte, issued time.Time) ([]byte, error) {
	kc := make([]byte, cryptClientLen)
	rand.Read(kc)
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
	plain := slices.Concat(kc, meta)
	total := binary.BigEndian.AppendUint16(nil, uint16(cryptTagLen+len(plain)+2))
	tag := cryptTag(ka, total, plain)
	sealed, err := cryptCTR(ke, tag, plain)
	if err != nil {
		return nil, err
	}
	return slices.Concat(tag, sealed, total), nil
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
