// Package appliance is what the image's own units run: it makes the data partition at the first
// start, takes over what a person put on the FAT partition, reports on the console, and judges a
// new slot. None of it is in the Debian package.
package appliance
