package ociimage

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/uuid"
)

// Bill returns the bill of materials of an archive that holds one Go program,
// in CycloneDX's JSON: the program and every module it was compiled from, with
// versions and sums, as the compiler wrote them into it. The same archive and
// program make the same bill.
func Bill(archive, program, name, version string) ([]byte, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read what %s was made of: %w", program, err)
	}
	sum, err := sha256Of(archive)
	if err != nil {
		return nil, err
	}
	bom := cdx.NewBOM()
	bom.SerialNumber = "urn:uuid:" + uuid.NewSHA1(uuid.NameSpaceURL, []byte("sha256:"+sum)).String()
	root := cdx.Component{
		BOMRef: "archive", Type: cdx.ComponentTypeContainer, Name: name, Version: version,
		Hashes: &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
	}
	bom.Metadata = &cdx.Metadata{Component: &root}
	main := cdx.Component{
		BOMRef: info.Path, Type: cdx.ComponentTypeApplication, Name: info.Path, Version: version,
		Properties: settings(info),
	}
	components, refs := []cdx.Component{main}, []string{}
	for _, module := range info.Deps {
		c := component(module)
		components, refs = append(components, c), append(refs, c.BOMRef)
	}
	standard := cdx.Component{
		BOMRef: "pkg:golang/std@" + info.GoVersion, Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion,
		PackageURL: "pkg:golang/std@" + info.GoVersion,
	}
	components, refs = append(components, standard), append(refs, standard.BOMRef)
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{
		{Ref: root.BOMRef, Dependencies: &[]string{main.BOMRef}},
		{Ref: main.BOMRef, Dependencies: &refs},
	}
	var text bytes.Buffer
	encoder := cdx.NewBOMEncoder(&text, cdx.BOMFileFormatJSON).SetPretty(true)
	if err := encoder.EncodeVersion(bom, cdx.SpecVersion1_5); err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	return text.Bytes(), nil
}

// component is a module as it was compiled in: its replacement, if it has one.
func component(module *debug.Module) cdx.Component {
	if module.Replace != nil && module.Replace.Version != "" {
		module = module.Replace
	}
	url := "pkg:golang/" + module.Path + "@" + module.Version
	c := cdx.Component{BOMRef: url, Type: cdx.ComponentTypeLibrary, Name: module.Path, Version: module.Version, PackageURL: url}
	if module.Sum != "" {
		c.Properties = &[]cdx.Property{{Name: "go:sum", Value: module.Sum}}
	}
	return c
}

// settings are how the program was compiled.
func settings(info *debug.BuildInfo) *[]cdx.Property {
	list := []cdx.Property{{Name: "go:version", Value: info.GoVersion}}
	for _, s := range info.Settings {
		list = append(list, cdx.Property{Name: "go:build:" + s.Key, Value: s.Value})
	}
	return &list
}

func sha256Of(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the archive: %w", err)
	}
	defer func() { _ = file.Close() }() // only read from
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return "", fmt.Errorf("read the archive: %w", err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
