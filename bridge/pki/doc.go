// Package pki keeps the endpoint's keys and certificates. They are a certificate authority, the
// server's certificate, one certificate and one tls-crypt-v2 key for each client, the revocation
// list, and the index of clients. It uses Go's cryptography only and starts no program.
//
// On disk (all 0600, the directory 0700):
//
//	pki.lock                 beside the directory, so that a restored backup can replace it whole
//	pki/ca.pem               certificate and key of the authority
//	pki/server.pem           certificate and key of the server
//	pki/tls-crypt-v2.pem     the server's tls-crypt-v2 key
//	pki/index.json           the clients and every serial ever revoked: the one source of truth
//	pki/crl.pem              derived from the index
//	pki/clients/NAME-SERIAL.pem  certificate, key and tls-crypt-v2 key of one client
//
// Every file is replaced atomically, certificate and key live in one file, and the index is written
// after what it names and before what is derived from it. So a crash at any step leaves either the
// old state or the new one; what it leaves over, Ensure removes or derives again.
package pki
