package web

import (
	"archive/zip"
	"fmt"
	"io"
	"mime/multipart"
	"os"

	"ztbridge/bridge/api"
)

// uploaded is the files of one form. Several become a ZIP archive, which is what a provider would
// have sent; one stays as it is.
type uploaded struct {
	s       *Server
	name    string   // of the first file
	file    *os.File // at the place of uploads
	archive *zip.Writer
	size    int64 // of all files
	count   int
	begun   bool // this form's files, and no other's, are at the place of uploads
}

// archiveName is what several files are called together.
const archiveName = "profiles.zip"

// add writes a file of the form to its place, which only one request at a time may do.
func (u *uploaded) add(part *multipart.Part) error {
	if part.FileName() == "" {
		return nil // no file was chosen
	}
	u.count++
	switch u.count {
	case 1:
		if err := u.open(); err != nil {
			return err
		}
		u.name = part.FileName()
		return u.take(u.file, part)
	case 2:
		if err := u.begin(); err != nil {
			return fmt.Errorf("keeping the files: %w", err)
		}
	}
	w, err := u.archive.Create(part.FileName())
	if err != nil {
		return fmt.Errorf("keeping the files: %w", err)
	}
	return u.take(w, part)
}

func (u *uploaded) open() error {
	if err := u.s.begin(api.ImportRequest{}, receiving); err != nil {
		return err
	}
	u.begun = true
	if err := os.MkdirAll(u.s.config.Dir, 0o700); err != nil {
		return fmt.Errorf("keeping the file: %w", err)
	}
	f, err := os.OpenFile(u.s.uploadPath(), os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("keeping the file: %w", err)
	}
	u.file = f
	return nil
}

// begin puts an archive with the first file in the place of that.
func (u *uploaded) begin() error {
	first := u.file
	defer first.Close()
	if err := os.Remove(u.s.uploadPath()); err != nil {
		return err
	}
	f, err := os.OpenFile(u.s.uploadPath(), os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	u.file, u.archive = f, zip.NewWriter(f)
	w, err := u.archive.Create(u.name)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, io.NewSectionReader(first, 0, maxUpload))
	return err
}

// take copies a file while all together are not too large.
func (u *uploaded) take(w io.Writer, part io.Reader) error {
	n, err := io.Copy(w, io.LimitReader(part, maxUpload-u.size+1))
	u.size += n
	switch {
	case err != nil:
		return fmt.Errorf("receiving the file: %w", err)
	case u.size > maxUpload && u.count > 1:
		return fmt.Errorf("the files are larger than %d MB together", maxUpload>>20)
	case u.size > maxUpload:
		return fmt.Errorf("the file is larger than %d MB", maxUpload>>20)
	}
	return nil
}

// done returns the name and the size of what is to be tried; no name where no file was chosen.
func (u *uploaded) done() (name string, size int64, err error) {
	if u.count < 2 {
		return u.name, u.size, nil
	}
	if err := u.archive.Close(); err != nil {
		return "", 0, fmt.Errorf("keeping the files: %w", err)
	}
	info, err := u.file.Stat()
	if err != nil {
		return "", 0, fmt.Errorf("keeping the files: %w", err)
	}
	return archiveName, info.Size(), nil
}

// close ends the receiving of files; of those that came to nothing by err, none stays.
func (u *uploaded) close(err error) {
	if u.file != nil {
		_ = u.file.Close() // what was written to it is there
	}
	if err == nil || !u.begun {
		return
	}
	u.s.upload.leave()
	if err := u.s.forget(); err != nil {
		u.s.config.Log.Warn("removing an upload failed", "error", err)
	}
}
