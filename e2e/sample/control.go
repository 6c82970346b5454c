package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"strconv"
)

const (
	// maxLines is the most log lines one request may ask for.
	maxLines = 100_000
	// maxLine is the longest log line, in bytes.
	maxLine = 64 << 10
	// maxData is the largest file written or read, in bytes.
	maxData = 1 << 20
)

// say answers with one line of plain text.
func say(w http.ResponseWriter, format string, args ...any) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = fmt.Fprintf(w, format+"\n", args...) //nolint:gosec // plain text, which no browser runs
}

func (a *app) setIll(ill bool) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		a.ill.Store(ill)
		a.log.Info("health set", "healthy", !ill)
		say(w, "healthy: %t", !ill)
	}
}

// endWithCode ends the process with ?code= (default 0) after answering.
func (a *app) endWithCode(w http.ResponseWriter, r *http.Request) {
	code := 0
	if text := r.FormValue("code"); text != "" {
		var err error
		if code, err = parseExitCode(text); err != nil {
			http.Error(w, "code: "+err.Error(), http.StatusBadRequest)
			return
		}
	}
	say(w, "ending with code %d", code)
	select {
	case a.exit <- code:
	default: // an earlier request already ends it
	}
}

// writeLog prints ?line= to standard output ?count= times (default once); with
// more than one each line gets its number.
func (a *app) writeLog(w http.ResponseWriter, r *http.Request) {
	line, count := r.FormValue("line"), 1
	if line == "" {
		line = "a line"
	}
	if len(line) > maxLine {
		http.Error(w, fmt.Sprintf("line: must be at most %d bytes", maxLine), http.StatusBadRequest)
		return
	}
	if text := r.FormValue("count"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > maxLines {
			http.Error(w, fmt.Sprintf("count: must be 1 to %d, is %q", maxLines, text), http.StatusBadRequest)
			return
		}
		count = n
	}
	for i := range count {
		if count == 1 {
			a.log.Info(line)
		} else {
			a.log.Info(line, "number", i+1)
		}
	}
	say(w, "logged %d", count)
}

// writeData stores the request's body, or ?content=, in the file ?path= of the
// data folder.
func (a *app) writeData(w http.ResponseWriter, r *http.Request) {
	content := []byte(r.URL.Query().Get("content"))
	if len(content) == 0 {
		var err error
		if content, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxData)); err != nil {
			http.Error(w, "body: "+err.Error(), http.StatusRequestEntityTooLarge)
			return
		}
	}
	a.inData(w, r, func(data *os.Root, path string) error {
		if err := data.WriteFile(path, content, 0o644); err != nil {
			return err
		}
		say(w, "wrote %d bytes", len(content))
		return nil
	})
}

// readData answers with the file ?path= of the data folder.
func (a *app) readData(w http.ResponseWriter, r *http.Request) {
	a.inData(w, r, func(data *os.Root, path string) error {
		file, err := data.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		content, err := io.ReadAll(io.LimitReader(file, maxData))
		if err != nil {
			return err
		}
		w.Header().Set("Content-Type", "application/octet-stream")
		_, _ = w.Write(content) //nolint:gosec // octets, which no browser runs
		return nil
	})
}

// inData runs do on ?path= inside the data folder and nowhere else: os.Root
// refuses .. and symbolic links that lead out.
func (a *app) inData(w http.ResponseWriter, r *http.Request, do func(data *os.Root, path string) error) {
	path := r.URL.Query().Get("path")
	data, err := os.OpenRoot(a.config.dataDir)
	if err == nil {
		defer func() { _ = data.Close() }()
		err = do(data, path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.Error(w, "path: "+err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, "path: "+err.Error(), http.StatusBadRequest)
	}
}
