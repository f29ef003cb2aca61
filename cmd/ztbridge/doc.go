// Command ztbridge is the gateway: daemon, guard and everything that a person asks of them.
//
// Output follows three rules. stdout is the answer and nothing else, so that it can be piped;
// stderr is information for the person; every failure is a line "ztbridge: error: …", and where
// something can be done about it a line "ztbridge: hint: …" after it.
package main
