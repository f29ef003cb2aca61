// Package userdata writes what a stock cloud image (Debian, Ubuntu) is given at its creation, so
// that it becomes a ztbridge box by itself.
package userdata
