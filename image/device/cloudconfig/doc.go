// Package cloudconfig is the part of cloud-init's language that makes a box: `ztbridge-image
// user-data` writes it for stock images, and the ztbridge image, which has no cloud-init, reads it
// by itself.
package cloudconfig
