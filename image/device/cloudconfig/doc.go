// Package cloudconfig reads and writes the part of cloud-init's format that configures a box.
// `ztbridge-image user-data` writes it for stock images; the ztbridge image, which has no
// cloud-init, reads it itself.
package cloudconfig
