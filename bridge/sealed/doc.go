// Package sealed encrypts what leaves a box with a passphrase, in the age format
// (https://age-encryption.org/v1): the age program opens it too.
package sealed
