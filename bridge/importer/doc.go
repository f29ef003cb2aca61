// Package importer puts a provider's profile in force as an egress.
//
// The files go into a directory of their own beside the configuration, the configuration is edited,
// and the running daemon reads it. Where a step fails, all is as it was before.
//
//	check ─▶ stage files ─▶ check the whole ─▶ exchange the configuration ─▶ reload ─▶ await up
//	  │           │                │                                           │          │
//	  └───────────┴─ remove them ◀─┘                put it back, reload ◀──────┴──────────┘
//
// A kill at any point leaves the old configuration or the new one, whole, with all its files. What
// a killed import left behind is removed by the next one.
package importer
