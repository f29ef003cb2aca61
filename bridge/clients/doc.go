// Package clients manages the endpoint's clients as a person does, from the command line or the
// page: it adds them, tells of them, and makes what their apps import.
package clients
