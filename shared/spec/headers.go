package spec

// OrdinaryHeaders are the request headers that proxyHeaders and customHeaders let
// pages of other origins send, besides those that customHeaders names.
func OrdinaryHeaders() []string {
	return []string{
		"Accept", "Accept-Language", "Authorization", "Cache-Control", "Content-Language", "Content-Type", "DNT",
		"If-Match", "If-Modified-Since", "If-None-Match", "Keep-Alive", "Range", "User-Agent",
		"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Server", "X-Real-IP", "X-Requested-With",
	}
}
