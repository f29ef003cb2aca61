// Package pkglock pins the Debian packages an image is made of: names, versions and SHA-256 sums,
// resolved once from signed archive indexes, kept in a text file, and fetched by content ever
// after.
package pkglock
