package config

// Overrides are values set by flags, by dotted key ("endpoint.address"). They win over ZTBRIDGE_*
// variables, which win over the file. A list is given with commas.
type Overrides map[string]string
