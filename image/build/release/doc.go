// Package release makes the directory tree of a release, which any static web host can serve. It
// holds packages with their apt repository, programs, manual pages, update bundles with a channel
// file, signed sums and notes. The same checkout, version, date and keys make the same bytes.
//
//	apt/                      repository, signed by the OpenPGP key in ztbridge.asc
//	packages/  bin/  man/     .debs, static programs, manual pages
//	images/                   disk images with manifests and bills of materials
//	updates/                  bundles, and the channel file that boxes look at
//	SHA256SUMS, .minisig      of everything else, signed by the release key
package release
