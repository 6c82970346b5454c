package artifact

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	installscripts "fairlead.dev/install-scripts"
)

// BillFile is the name of the bill of materials of dagent's archive for an
// architecture: what the build was made of, in CycloneDX's JSON.
func BillFile(arch string) string { return "dagent-linux-" + arch + ".cdx.json" }

// openBill serves an archive's bill of materials, if there is one: beside the
// archive, and by the archive's digest.
func (l *Library) openBill(folder, arch string, a installscripts.Artifact) error {
	file := filepath.Join(folder, BillFile(arch))
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return fmt.Errorf("read the bill of materials: %w", err)
	}
	l.files[a.Path+".cdx.json"] = file
	l.files["/artifacts/sbom/sha256:"+a.SHA256] = file
	return nil
}
