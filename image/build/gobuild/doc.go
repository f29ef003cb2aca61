// Package gobuild compiles the project's own commands into static binaries for a Debian
// architecture, the same bytes each time.
package gobuild
