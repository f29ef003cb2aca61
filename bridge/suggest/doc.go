// Package suggest finds the word that a person meant to type.
package suggest
