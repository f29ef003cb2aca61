// Package config reads the configuration: a file, then ZTBRIDGE_* variables, then --set flags, into
// typed values. What it returns is complete and consistent: every name resolved, every default
// filled in, every referenced file present. Whatever it refuses it refuses with file, line, key and
// what to do about it.
//
// Where order means something (egresses, policy) slices keep the order of the file.
package config
