// Package backup puts all that makes a box itself into one encrypted file, and makes another box
// the same: configuration, the files that it names, keys and clients, choices, and the identity
// and networks of zerotier-one. The file is a tar archive, encrypted with a passphrase in the age
// format.
package backup
