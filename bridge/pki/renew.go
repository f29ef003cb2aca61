package pki

import (
	"crypto/x509"
	"slices"
	"time"
)

// validity holds the periods in which the server's certificate and the revocation list are valid.
type validity struct {
	ServerFrom, ServerUntil time.Time // the server's certificate
	CRLFrom, CRLUntil       time.Time // the revocation list
	CAUntil                 time.Time // the authority, which is never renewed by itself
}

// Renewal says what must be made again.
type Renewal struct {
	Server, CRL bool
}

// renewal returns what to renew: what has less than a third of its life left, or begins in the
// future. The third leaves time to notice a failure. What begins in the future was made while the
// clock was wrong, and clients refuse it.
func renewal(now time.Time, v validity) Renewal {
	due := func(from, until time.Time) bool {
		return now.Before(from) || now.After(until.Add(-until.Sub(from)/3))
	}
	r := Renewal{Server: due(v.ServerFrom, v.ServerUntil), CRL: due(v.CRLFrom, v.CRLUntil)}
	// The last certificate of an authority cannot live longer than the authority. Renewing it at
	// every look would gain nothing.
	if v.ServerUntil.Equal(v.CAUntil) && !now.Before(v.ServerFrom) {
		r.Server = false
	}
	return r
}

// crlStale reports whether a revocation list differs from what the index asks for.
func crlStale(crl *x509.RevocationList, revoked []revocation, now time.Time) bool {
	var want, have []string
	for _, r := range revoked {
		if !now.After(r.Expires) {
			want = append(want, r.Serial)
		}
	}
	for _, e := range crl.RevokedCertificateEntries {
		have = append(have, formatSerial(e.SerialNumber))
	}
	slices.Sort(want)
	slices.Sort(have)
	return !slices.Equal(want, have)
}
