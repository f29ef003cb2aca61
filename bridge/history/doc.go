// Package history remembers what a box did: for each minute what its egresses and ingresses
// carried, and every change of a state with its cause. It is kind to SD cards: it writes every
// five minutes, at most 5 MB a month, and forgets what is older than two years.
//
// The file is a bbolt database. It is open only while it is read or written, so that nothing of it
// stays in memory. Whatever happens to it costs history and nothing else.
package history
