// Command ztbridge-appliance is run by the image's own units, never by a person.
package main
