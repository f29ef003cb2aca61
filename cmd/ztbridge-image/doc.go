// Command ztbridge-image builds what people install: disk images, Debian packages, user-data for
// cloud machines.
//
// stdout is the answer (names of the files written), stderr the progress. Exit codes: 0 done, 1
// failed, 2 wrong usage.
package main
