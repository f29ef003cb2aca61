package config

import (
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/viper"
	"go.yaml.in/yaml/v3"
)

// Overrides are values set by flags, by dotted key ("endpoint.address"). They win over ZTBRIDGE_*
// variables, which win over the file. A list is given with commas.
type Overrides map[string]string

const envPrefix = "ZTBRIDGE"

// layered are the keys that a variable or a flag may set: those whose path is fixed. Egresses and
// policy have names and an order of their own and belong in the file. true: the value is a list.
var layered = map[string]bool{
	"zerotier.home":                 false,
	"zerotier.networks":             true,
	"zerotier.orbit":                true,
	"zerotier.moon.endpoints":       true,
	"endpoint.listen":               true,
	"endpoint.address":              false,
	"endpoint.pool":                 false,
	"endpoint.pool6":                false,
	"endpoint.clients.tunnel":       false,
	"endpoint.clients.dns":          false,
	"endpoint.https.certificate":    false,
	"endpoint.https.key":            false,
	"endpoint.https.acme.email":     false,
	"endpoint.https.acme.directory": false,
	"history":                       false,
	"metrics.listen":                true,
	"metrics.username":              false,
	"metrics.password_file":         false,
	"probe.targets":                 true,
	"probe.interval":                false,
	"probe.hold_down":               false,
	"exit_address":                  true,
}

// programVariables belong to the command line and not to the configuration.
var programVariables = []string{"ZTBRIDGE_CONFIG", "ZTBRIDGE_STATE_DIR", "ZTBRIDGE_RUNTIME_DIR"}

// envName returns the variable that sets a key.
func envName(key string) string {
	return envPrefix + "_" + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// layer lets viper decide for each key whether the flag, the variable or the file applies. Values
// from elsewhere replace those in the file's tree. Each such node is remembered with its source, so
// that an error can name it.
func (d *decoder) layer(root *yaml.Node, overrides Overrides) {
	v := viper.New()
	v.SetEnvPrefix(envPrefix)
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_"))
	keys := sortedKeys(layered)
	for _, key := range keys {
		if err := v.BindEnv(key); err != nil { // only without a key
			panic(err)
		}
		if node := find(root, strings.Split(key, ".")...); node != nil &&
			node.Kind == yaml.ScalarNode {
			// As text: viper's own reader would make a number of the network 8056e21000000001.
			v.SetDefault(key, node.Value)
		}
	}
	for key, text := range overrides {
		v.Set(key, text)
	}
	for _, key := range keys {
		text := v.GetString(key)
		source := envName(key)
		if _, ok := overrides[key]; ok {
			source = "--set " + key
		} else if os.Getenv(source) == "" {
			continue // the file has the say
		}
		d.graft(root, strings.Split(key, "."), source, text, layered[key])
	}
	d.refuseUnknownOverrides(overrides)
	d.warnOfUnknownVariables()
}

func (d *decoder) refuseUnknownOverrides(overrides Overrides) {
	for _, key := range sortedKeys(overrides) {
		if _, ok := layered[key]; !ok {
			d.fail(Position{File: "--set " + key}, ErrUnknownKey,
				"this key cannot be set by a flag",
				didYouMean(key, sortedKeys(layered), "write it in the configuration file"))
		}
	}
}

func (d *decoder) warnOfUnknownVariables() {
	var known []string
	for key := range layered {
		known = append(known, envName(key))
	}
	known = append(known, programVariables...)
	slices.Sort(known)
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if strings.HasPrefix(name, envPrefix+"_") && !slices.Contains(known, name) {
			d.warn(Position{File: name}, "this variable means nothing and is ignored; "+
				didYouMean(name, known, "only keys with a fixed path have variables"))
		}
	}
}

// graft puts a value at a path, making the mappings on the way.
func (d *decoder) graft(root *yaml.Node, path []string, source, text string, list bool) {
	parent := root
	for _, name := range path[:len(path)-1] {
		next := valueOf(parent, name)
		if next == nil {
			next = &yaml.Node{Kind: yaml.MappingNode}
			setChild(parent, name, next)
		}
		if next.Kind == yaml.ScalarNode && next.Tag == "!!null" {
			*next = yaml.Node{Kind: yaml.MappingNode, Line: next.Line}
		}
		if next.Kind != yaml.MappingNode {
			return // the decoder reports it at its place in the file
		}
		parent = next
	}
	node := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: text}
	if list {
		node = &yaml.Node{Kind: yaml.SequenceNode}
		for item := range strings.SplitSeq(text, ",") {
			element := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str",
				Value: strings.TrimSpace(item)}
			d.sources[element] = source
			node.Content = append(node.Content, element)
		}
	}
	d.sources[node] = source
	setChild(parent, path[len(path)-1], node)
}

// find returns the value at a path of keys, or nil.
func find(node *yaml.Node, path ...string) *yaml.Node {
	for _, name := range path {
		node = valueOf(node, name)
	}
	return node
}

func setChild(node *yaml.Node, name string, to *yaml.Node) {
	if i := pair(node, name); i >= 0 {
		node.Content[i+1] = to
		return
	}
	node.Content = append(node.Content,
		&yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: name}, to)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
