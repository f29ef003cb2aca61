// Package health is the one description of what can be wrong with a box: drivers report it, status
// lists it, doctor explains it, an update is judged by it, metrics and notifications carry it.
//
// Every kind of problem has a Code and is registered once (Kinds). Nobody compares codes with
// string literals or with parts of one: which kinds belong together, the Area says.
package health
