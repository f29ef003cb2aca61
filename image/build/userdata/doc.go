// Package userdata writes the user-data that makes a ztbridge box of a stock Debian or Ubuntu cloud
// image.
package userdata
