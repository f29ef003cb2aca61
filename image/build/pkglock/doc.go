// Package pkglock pins the Debian packages of an image by name, version and SHA-256. They are
// resolved once from signed archive indexes, kept in a text file, and fetched by content
// afterwards.
package pkglock
