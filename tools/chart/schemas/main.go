// Schemas of Kubernetes' kinds, for kubeconform: from the OpenAPI document of a
// release, and from custom resource definitions.
//
//	schemas FOLDER SWAGGER.json DEFINITIONS.yaml…
//
// Each kind becomes FOLDER/<kind>-<group>-<version>.json, in small letters, and
// a field that is not in it is refused.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

type object = map[string]any

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: schemas FOLDER SWAGGER.json DEFINITIONS.yaml…")
		os.Exit(2)
	}
	folder, swagger, definitions := os.Args[1], os.Args[2], os.Args[3:]
	if err := run(folder, swagger, definitions); err != nil {
		fmt.Fprintln(os.Stderr, "schemas:", err)
		os.Exit(1)
	}
}

func run(folder, swagger string, definitions []string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	if err := release(folder, swagger); err != nil {
		return fmt.Errorf("%s: %w", swagger, err)
	}
	for _, file := range definitions {
		if err := custom(folder, file); err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
	}
	return nil
}

// release writes the types of a release into one file, and for each kind a file that points there.
func release(folder, swagger string) error {
	text, err := os.ReadFile(swagger)
	if err != nil {
		return err
	}
	var document struct {
		Definitions map[string]object `json:"definitions"`
	}
	if err := json.Unmarshal(text, &document); err != nil {
		return err
	}
	for name, definition := range document.Definitions {
		kinds, _ := definition["x-kubernetes-group-version-kind"].([]any)
		for _, kind := range kinds {
			named, _ := kind.(object)
			reference := object{"$ref": "definitions.json#/definitions/" + name}
			if err := write(folder, fileOf(named["kind"], named["group"], named["version"]), reference); err != nil {
				return err
			}
		}
		strict(definition)
	}
	return write(folder, "definitions.json", object{"definitions": document.Definitions})
}

// custom writes the schema of each version of each definition in a YAML file.
func custom(folder, file string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	for _, part := range regexp.MustCompile(`(?m)^---\s*$`).Split(string(text), -1) {
		var definition struct {
			Spec struct {
				Group string `json:"group"`
				Names struct {
					Kind string `json:"kind"`
				} `json:"names"`
				Versions []struct {
					Name   string `json:"name"`
					Schema struct {
						OpenAPIV3Schema object `json:"openAPIV3Schema"`
					} `json:"schema"`
				} `json:"versions"`
			} `json:"spec"`
		}
		if err := yaml.Unmarshal([]byte(part), &definition); err != nil {
			return err
		}
		for _, version := range definition.Spec.Versions {
			schema := version.Schema.OpenAPIV3Schema
			properties, _ := schema["properties"].(object)
			// Every object has these, whether its definition says so or not.
			for _, word := range []string{"apiVersion", "kind"} {
				properties[word] = object{"type": "string"}
			}
			properties["metadata"] = object{"type": "object", "x-kubernetes-preserve-unknown-fields": true}
			strict(schema)
			if err := write(folder, fileOf(definition.Spec.Names.Kind, definition.Spec.Group, version.Name), schema); err != nil {
				return err
			}
		}
	}
	return nil
}

// strict refuses unknown fields, and allows numbers where Kubernetes reads numbers and text alike.
func strict(schema object) {
	if format, _ := schema["format"].(string); format == "int-or-string" {
		delete(schema, "type")
	}
	if schema["x-kubernetes-int-or-string"] == true || strings.Contains(fmt.Sprint(schema["description"]), "Quantity is a fixed-point") {
		delete(schema, "type")
	}
	properties, known := schema["properties"].(object)
	_, free := schema["additionalProperties"]
	if known && !free && schema["x-kubernetes-preserve-unknown-fields"] != true {
		schema["additionalProperties"] = false
	}
	for _, property := range properties {
		if inner, ok := property.(object); ok {
			strict(inner)
		}
	}
	for _, word := range []string{"items", "additionalProperties"} {
		if inner, ok := schema[word].(object); ok {
			strict(inner)
		}
	}
}

// For kubeconform, the group of v1 is v1.
func fileOf(kind, group, version any) string {
	if group == "" {
		group = version
	}
	return strings.ToLower(fmt.Sprintf("%v-%v-%v.json", kind, group, version))
}

func write(folder, name string, content any) error {
	text, err := json.Marshal(content)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, name), text, 0o644)
}
