package main

import (
	"context"
	"log/slog"

	"fairlead.dev/controller/internal/app"
	"fairlead.dev/controller/internal/config"
)

func serve(ctx context.Context, c config.Config, log *slog.Logger) error {
	a, err := app.New(ctx, c, log)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
