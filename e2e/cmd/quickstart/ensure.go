package main

import (
	"context"
	"net/http"

	"fairlead.dev/e2e/client"
)

// named is anything of the API that has an id and a name.
type named struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// ensure finds what is called name in the list at path, or makes it.
func ensure(ctx context.Context, c *client.Client, path, name string, draft any) (found named, made bool, err error) {
	var list []named
	if err := c.Call(ctx, http.MethodGet, path, nil, &list); err != nil {
		return named{}, false, err
	}
	for _, one := range list {
		if one.Name == name {
			return one, false, nil
		}
	}
	err = c.Call(ctx, http.MethodPost, path, draft, &found)
	return found, true, err
}
