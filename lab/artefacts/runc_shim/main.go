// Command runc_shim stands in front of runc on a machine that lacks CAP_SYS_RESOURCE.
//
// There, a negative oomScoreAdj and that capability in a container's specification make runc fail. The shim takes both
// out of the file that runc is about to read, then becomes runc. Only the lab uses it, and only on such a machine.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

const missingCapability = "CAP_SYS_RESOURCE"

// Runc is where Debian's package puts it; the linker sets another path in tests.
var runc = "/usr/sbin/runc"

// Relax takes out of one process specification what the machine cannot grant; it reports whether anything was.
func relax(process map[string]any) bool {
	changed := false
	if score, ok := process["oomScoreAdj"].(float64); ok && score < 0 {
		process["oomScoreAdj"] = 0
		changed = true
	}
	sets, _ := process["capabilities"].(map[string]any)
	for name, value := range sets {
		list, _ := value.([]any)
		kept := make([]any, 0, len(list))
		for _, capability := range list {
			if capability != missingCapability {
				kept = append(kept, capability)
			}
		}
		if len(kept) != len(list) {
			sets[name] = kept
			changed = true
		}
	}
	return changed
}

// RelaxFile rewrites a specification in place: config.json of a bundle ("process" inside it) or a process.json.
func relaxFile(path string) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	var document map[string]any
	if err := json.Unmarshal(text, &document); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	process, ok := document["process"].(map[string]any)
	if !ok {
		process = document
	}
	if !relax(process) {
		return nil
	}
	if text, err = json.Marshal(document); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

// Specifications returns the files that the command line tells runc to read.
func specifications(arguments []string) []string {
	var files []string
	for i, argument := range arguments {
		name, value, joined := strings.Cut(argument, "=")
		if !joined && i+1 < len(arguments) {
			value = arguments[i+1]
		}
		switch name {
		case "--bundle", "-b":
			files = append(files, filepath.Join(value, "config.json"))
		case "--process", "-p":
			files = append(files, value)
		}
	}
	return files
}

func main() {
	for _, path := range specifications(os.Args[1:]) {
		if err := relaxFile(path); err != nil {
			// runc reads the same file next and says itself what is wrong with it.
			fmt.Fprintln(os.Stderr, "runc shim:", err)
		}
	}
	if err := syscall.Exec(runc, append([]string{runc}, os.Args[1:]...), os.Environ()); err != nil {
		fmt.Fprintf(os.Stderr, "runc shim: %s: %v; install the package runc in the node's template\n", runc, err)
		os.Exit(127)
	}
}
