// Package appliance is run by the image's own units. It makes the data partition at the first
// start, installs the files that a user put on the FAT partition, reports on the console, and
// judges a new slot. None of it is in the Debian package.
package appliance
