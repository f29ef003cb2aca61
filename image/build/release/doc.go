// Package release makes the tree that a release is served from by any static web host: packages and
// an apt repository of them, programs, manual pages, update bundles with a channel file, sums with
// a signature, notes. The same checkout, version, date and keys make the same bytes.
//
//	apt/                      repository, signed by the OpenPGP key in ztbridge.asc
//	packages/  bin/  man/     .debs, static programs, manual pages
//	images/                   disk images with manifests and bills of materials
//	updates/                  bundles, and the channel file that boxes look at
//	SHA256SUMS, .minisig      of everything else, signed by the release key
package release
