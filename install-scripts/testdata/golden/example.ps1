# Installs the Fairlead agent for Docker Desktop on this machine. Made by the
# controller for one node; try -Help. Windows PowerShell 5.1 and PowerShell 7.
#
# Nothing runs before the last line has been read: a script cut short on its way
# does nothing.
[CmdletBinding()]
param([switch]$DryRun, [switch]$Uninstall, [switch]$Downgrade, [switch]$Show, [switch]$Version, [switch]$Help)
Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'

$NodeId = '2f1c9d6e-0000-4000-8000-000000000001'
$NodeName = 'web-1'
$ControllerUrl = 'https://fairlead.example.org'
$AgentAddr = 'fairlead.example.org:8443'
$RootSha256 = '0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef'
$Expires = '2026-01-02T03:04:05Z'
$ExpiresEpoch = 1767323045
$AcmeEmail = 'admin@example.org'
$Container = 'fairlead-agent'
$Image = 'fairlead/dagent:1.2.3'
$AgentVersion = '1.2.3'
$Artifacts = @{
    'amd64' = @{ Path = '/artifacts/dagent/1.2.3/linux-amd64.tar'; Sha256 = 'a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1a1'; Size = 12345678 }
    'arm64' = @{ Path = '/artifacts/dagent/1.2.3/linux-arm64.tar'; Sha256 = 'b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2b2'; Size = 11345678 }
}
# Archives for the state folder: what the agent is always given, and the token.
$StateTar = 'aW5zdGFsbAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADAwMDA2MDAAMDAwMDAwMAAwMDAwMDAwADAwMDAwMDAwMTYwADAwMDAwMDAwMDAwADAxMDU2MwAgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB1c3RhcgAwMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwMDAwMDAwADAwMDAwMDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABub2RlIDJmMWM5ZDZlLTAwMDAtNDAwMC04MDAwLTAwMDAwMDAwMDAwMQpyb290IDAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYKAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAHJlbGVhc2Uta2V5cwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwMDAwNjAwADAwMDAwMDAAMDAwMDAwMAAwMDAwMDAwMDA1NQAwMDAwMDAwMDAwMAAwMTE1MTEAIDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAdXN0YXIAMDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAMDAwMDAwMAAwMDAwMDAwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAATzJvbnZNNjJwQzFpbzZqUUttOE5jMlV5RlhjZDRrT21Pc0JJb1l0WjJpaz0KAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA'
$EnrolTar = 'ZW5yb2wuanNvbgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAADAwMDA2MDAAMDAwMDAwMAAwMDAwMDAwADAwMDAwMDAwMjYxADAwMDAwMDAwMDAwADAxMTIwNgAgMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB1c3RhcgAwMAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAwMDAwMDAwADAwMDAwMDAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB7ImNvbnRyb2xsZXIiOiJmYWlybGVhZC5leGFtcGxlLm9yZzo4NDQzIiwicm9vdFNoYTI1NiI6IjAxMjM0NTY3ODlhYmNkZWYwMTIzNDU2Nzg5YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWYiLCJ0b2tlbiI6ImV4YW1wbGUtdG9rZW4tMDEyMzQ1Njc4OSIsIm5vZGVOYW1lIjoid2ViLTEifQoAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA='

$WaitSeconds = 60
$SteadySeconds = 10
$ClockSeconds = 300
# The state is in a volume of the engine, which the agent finds under the path
# that the engine itself has it at. Only Docker's own file system keeps locks and
# modes as the agent needs them.
$Volume = $Container
$Policy = @('DAGENT_ALLOW_HOST_PATHS', 'DAGENT_ALLOW_HOST_NETWORK', 'DAGENT_ALLOW_CAPABILITIES', 'DAGENT_ALLOW_LOCAL_STORAGE',
    'DAGENT_KEEP_RELEASES', 'DAGENT_MIN_FREE_DISK', 'DAGENT_ROUTING', 'DAGENT_DEFAULT_DOMAIN', 'DAGENT_HTTP_PORT', 'DAGENT_HTTPS_PORT',
    'DAGENT_ACME_EMAIL', 'DAGENT_ACME_DIRECTORY', 'DAGENT_ACME_ROOTS', 'DAGENT_TRUSTED_PROXIES', 'DAGENT_EDGE_IMAGE',
    'DAGENT_TRAEFIK_NETWORK', 'DAGENT_TRAEFIK_ENTRYPOINT', 'DAGENT_TRAEFIK_SECURE_ENTRYPOINT', 'DAGENT_TRAEFIK_CERT_RESOLVER')
$Proxies = @('HTTPS_PROXY', 'HTTP_PROXY', 'NO_PROXY')

$script:Problems = 0
$script:Work = ''
$script:Engine = ''
$script:Artifact = $null

function Write-Say([string]$Text) { [Console]::Out.WriteLine('fairlead: ' + $Text) }
function Write-Warn([string]$Text) { [Console]::Error.WriteLine('fairlead: ' + $Text) }
function Add-Problem([string]$Text) {
    Write-Warn ('problem: ' + $Text)
    $script:Problems = $script:Problems + 1
}

function Show-Usage {
    Write-Say 'usage: install.ps1 [-DryRun] [-Uninstall] [-Downgrade] [-Show] [-Version] [-Help]'
    Write-Say ''
    Write-Say 'Without an option: installs the agent, or brings the installed one in order.'
    Write-Say 'Run again it changes nothing when there is nothing to change.'
    Write-Say ''
    Write-Say '  -DryRun     check everything and say what would be done; change nothing'
    Write-Say '  -Uninstall  remove the agent, its state and its proxy; the containers it'
    Write-Say '              started keep running'
    Write-Say '  -Downgrade  replace a newer agent than this script''s too'
    Write-Say '  -Show       print what this script carries, except the token'
    Write-Say '  -Version    print the version of the agent this script installs'
    Write-Say ''
    Write-Say 'A proxy is taken from HTTPS_PROXY, HTTP_PROXY and NO_PROXY, what containers may'
    Write-Say 'have of this machine from DAGENT_ALLOW_HOST_PATHS and the others of the manual.'
    Write-Say 'Exit code: 0 done, 1 failed (what was there before is back).'
}

function Show-Content {
    [Console]::Out.WriteLine("node=$NodeId")
    [Console]::Out.WriteLine("name=$NodeName")
    [Console]::Out.WriteLine("controller=$ControllerUrl")
    [Console]::Out.WriteLine("agent=$AgentAddr")
    [Console]::Out.WriteLine("root=$RootSha256")
    [Console]::Out.WriteLine("container=$Container")
    [Console]::Out.WriteLine("image=$Image")
    [Console]::Out.WriteLine("version=$AgentVersion")
    [Console]::Out.WriteLine("expires=$Expires")
}

# --- looking ------------------------------------------------------------------

# Invoke-Docker runs docker with these words, none of which holds a double quote,
# and returns its exit code and what it said. Through a process of its own: to
# PowerShell 5.1 each line on standard error would be an exception.
function Invoke-Docker([string[]]$Words, [byte[]]$Standard = $null) {
    $info = New-Object System.Diagnostics.ProcessStartInfo
    $info.FileName = 'docker'
    $quoted = @()
    foreach ($word in $Words) {
        if ($word.Contains('"')) { throw 'a word for docker holds a double quote' }
        $quoted += '"' + ($word -replace '(\\+)$', '$1$1') + '"'
    }
    $info.Arguments = $quoted -join ' '
    $info.UseShellExecute = $false
    $info.RedirectStandardInput = $true
    $info.RedirectStandardOutput = $true
    $info.RedirectStandardError = $true
    $process = [System.Diagnostics.Process]::Start($info)
    $out = $process.StandardOutput.ReadToEndAsync()
    $err = $process.StandardError.ReadToEndAsync()
    if ($null -ne $Standard) { $process.StandardInput.BaseStream.Write($Standard, 0, $Standard.Length) }
    $process.StandardInput.Close()
    $process.WaitForExit()
    return New-Object PSObject -Property @{ Code = $process.ExitCode; Out = $out.Result.Trim(); Err = $err.Result.Trim() }
}

# Assert-Docker is Invoke-Docker for what has to succeed.
function Assert-Docker([string[]]$Words, [string]$What, [byte[]]$Standard = $null) {
    $result = Invoke-Docker $Words $Standard
    if ($result.Code -ne 0) { throw ('could not ' + $What + ': ' + ($result.Err -split "`n")[-1]) }
    return $result.Out
}

# Get-Field is one field of a container, empty when there is none.
function Get-Field([string]$Name, [string]$Format) {
    $result = Invoke-Docker @('container', 'inspect', '--format', $Format, $Name)
    if ($result.Code -ne 0) { return '' }
    return $result.Out
}

# Get-Label is one label of a container or a volume, empty when there is none.
function Get-Label([string]$Json, [string]$Key) {
    if ($Json -eq '' -or $Json -eq 'null') { return '' }
    $property = (ConvertFrom-Json $Json).PSObject.Properties[$Key]
    if ($null -eq $property) { return '' }
    return [string]$property.Value
}

function Test-Older([string]$One, [string]$Other) {
    $a = $null
    $b = $null
    if (-not [System.Version]::TryParse(($One -split '[-+]')[0], [ref]$a)) { return $false }
    if (-not [System.Version]::TryParse(($Other -split '[-+]')[0], [ref]$b)) { return $false }
    if ($a -ne $b) { return ($a -lt $b) }
    return ($One.Contains('-') -and -not $Other.Contains('-'))
}

function Test-Engine {
    if ($null -eq (Get-Command docker -CommandType Application -ErrorAction SilentlyContinue)) {
        Add-Problem 'the docker command is missing: install Docker Desktop'
        return
    }
    $result = Invoke-Docker @('version', '--format', '{{.Server.Version}} {{.Server.Os}} {{.Server.Arch}}')
    if ($result.Code -ne 0) {
        Add-Problem ('the Docker Engine does not answer: start Docker Desktop (' + ($result.Err -split "`n")[-1] + ')')
        return
    }
    $words = $result.Out -split ' '
    $script:Engine = $words[0]
    if (Test-Older $words[0] '20.10') { Add-Problem ('the Docker Engine is ' + $words[0] + ': the agent needs 20.10 or newer') }
    if ($words[1] -ne 'linux') { Add-Problem ('the Docker Engine runs ' + $words[1] + ' containers: switch Docker Desktop to Linux containers') }
    if (-not $Artifacts.ContainsKey($words[2])) {
        Add-Problem ('the controller has no agent for the architecture ' + $words[2])
        return
    }
    $script:Artifact = $Artifacts[$words[2]]
}

function Test-Controller {
    try {
        $answer = Invoke-WebRequest -UseBasicParsing -TimeoutSec 30 -Uri ($ControllerUrl + '/livez')
    } catch {
        Add-Problem ('the controller does not answer at ' + $ControllerUrl + ': ' + $_.Exception.Message)
        return
    }
    $date = [string]($answer.Headers['Date'] | Select-Object -First 1)
    $theirs = [DateTimeOffset]::MinValue
    $culture = [Globalization.CultureInfo]::InvariantCulture
    if (-not [DateTimeOffset]::TryParse($date, $culture, [Globalization.DateTimeStyles]::AssumeUniversal, [ref]$theirs)) {
        Write-Warn 'clock not checked: the controller sent no date'
        return
    }
    $off = [Math]::Abs(([DateTimeOffset]::UtcNow - $theirs).TotalSeconds)
    if ($off -gt $ClockSeconds) {
        Add-Problem ("this machine's clock is " + [int]$off + " seconds off the controller's: certificates would be refused; set the clock")
    }
}

# Test-Names finds the agent's containers and volume; those of others are left
# alone.
function Test-Names {
    if ($script:Engine -eq '') { return }
    foreach ($name in @($Container, "$Container-previous", "$Container-next")) {
        if ((Get-Field $name '{{.Id}}') -eq '') { continue }
        $owner = Get-Label (Get-Field $name '{{json .Config.Labels}}') 'dev.fairlead.agent'
        if ($owner -eq '') {
            Add-Problem "a container named $name is here already and is not a Fairlead agent: rename or remove it"
        } elseif ($owner -ne $NodeId) {
            Add-Problem "the container $name serves another node ($owner): uninstall that first"
        }
    }
    $labels = Invoke-Docker @('volume', 'inspect', '--format', '{{json .Labels}}', $Volume)
    if ($labels.Code -ne 0) { return }
    if ((Get-Label $labels.Out 'dev.fairlead.agent') -ne $NodeId -or (Get-Label $labels.Out 'dev.fairlead.root') -ne $RootSha256) {
        Add-Problem "the volume $Volume belongs to another installation: uninstall that first"
    }
}

function Test-Version {
    if ($Downgrade -or $script:Engine -eq '') { return }
    $installed = ((Get-Field $Container '{{.Config.Image}}') -split ':')[-1]
    if ($installed -ne '' -and (Test-Older $AgentVersion $installed)) {
        Add-Problem "the agent here is $installed, newer than this script's ${AgentVersion}: make a new script for node $NodeName, or use -Downgrade"
    }
}

function Test-Room {
    if ($null -eq $script:Artifact) { return }
    $drive = New-Object System.IO.DriveInfo ([System.IO.Path]::GetPathRoot($script:Work))
    $needs = $script:Artifact.Size + 10MB
    if ($drive.AvailableFreeSpace -lt $needs) {
        Add-Problem ('the drive ' + $drive.Name + ' has ' + [long]($drive.AvailableFreeSpace / 1KB) + ' KiB free, the download needs ' + [long]($needs / 1KB))
    }
}

function Stop-IfProblems {
    if ($script:Problems -gt 0) { throw ('nothing was changed; problems found: ' + $script:Problems) }
}

# Get-Setting is what the agent is given for a variable: what is set here, what
# this script was made with, or what the installed agent has.
function Get-Setting([string]$Name, [string[]]$Installed) {
    $value = [Environment]::GetEnvironmentVariable($Name)
    if ($null -ne $value) { return $value }
    if ($AcmeEmail -ne '' -and $Name -eq 'DAGENT_ACME_EMAIL') { return $AcmeEmail }
    if ($AcmeEmail -ne '' -and $Name -eq 'DAGENT_ROUTING') { return 'edge' }
    foreach ($line in $Installed) {
        if ($line.StartsWith("$Name=")) { return $line.Substring($Name.Length + 1) }
    }
    return ''
}

function Get-Environment {
    $installed = @()
    $json = Get-Field $Container '{{json .Config.Env}}'
    if ($json -ne '' -and $json -ne 'null') {
        # In two steps: PowerShell 5.1 hands the list on as one thing.
        $list = ConvertFrom-Json $json
        $installed = @($list)
    }
    $all = @()
    foreach ($name in $Policy) {
        $value = Get-Setting $name $installed
        if ($value -ne '') { $all += "$name=$value" }
    }
    foreach ($name in $Proxies) {
        $value = [Environment]::GetEnvironmentVariable($name)
        if ([string]::IsNullOrEmpty($value)) { continue }
        if ($value.Contains('@')) {
            Write-Warn "$name holds a password and is not given to the agent: it would be readable in docker inspect"
        } else {
            $all += "$name=$value"
        }
    }
    return ,$all
}

# --- doing --------------------------------------------------------------------

function Get-Agent {
    $file = Join-Path $script:Work 'agent.tar'
    $url = $ControllerUrl + $script:Artifact.Path
    Write-Say ("downloading the agent $AgentVersion (" + [long]($script:Artifact.Size / 1KB) + ' KiB)')
    try {
        Invoke-WebRequest -UseBasicParsing -Uri $url -OutFile $file
    } catch {
        throw ('could not download ' + $url + ': ' + $_.Exception.Message)
    }
    $got = (Get-FileHash -Algorithm SHA256 -LiteralPath $file).Hash.ToLowerInvariant()
    if ($got -ne $script:Artifact.Sha256) {
        throw ("the agent's SHA-256 is $got, not " + $script:Artifact.Sha256 + ': it was changed or cut short on its way; nothing was run')
    }
    Write-Say 'SHA-256 is right; it is pinned in this script, which the pasted command pins'
    return $file
}

# Test-UpToDate: whether there is nothing to do.
function Test-UpToDate {
    if ((Get-Field $Container '{{.State.Status}}') -ne 'running') { return $false }
    if ((Get-Field "$Container-previous" '{{.Id}}') -ne '' -or (Get-Field "$Container-next" '{{.Id}}') -ne '') { return $false }
    if ((Get-Label (Get-Field $Container '{{json .Config.Labels}}') 'dev.fairlead.artifact') -ne $script:Artifact.Sha256) { return $false }
    $has = ConvertFrom-Json (Get-Field $Container '{{json .Config.Env}}')
    foreach ($setting in (Get-Environment)) { if (@($has) -cnotcontains $setting) { return $false } }
    return ((Invoke-Docker @('exec', $Container, '/dagent', 'healthcheck')).Code -eq 0)
}

# Restore-Interrupted finishes what an earlier run left when it was ended in the
# middle.
function Restore-Interrupted {
    if ((Get-Field "$Container-next" '{{.Id}}') -ne '') {
        Write-Say 'an update of the agent is under way: it ends here'
        if ((Get-Field $Container '{{.Id}}') -eq '') {
            [void](Assert-Docker @('rename', "$Container-next", $Container) 'rename the agent')
        } else {
            [void](Assert-Docker @('rm', '--force', "$Container-next") 'remove the new agent')
        }
    }
    if ((Get-Field "$Container-previous" '{{.Id}}') -eq '') { return }
    Write-Say 'an earlier run was interrupted: putting the previous agent back first'
    if ((Get-Field $Container '{{.Id}}') -ne '') { [void](Assert-Docker @('rm', '--force', $Container) 'remove the interrupted agent') }
    [void](Assert-Docker @('rename', "$Container-previous", $Container) 'put the previous agent back')
}

function Wait-Agent([string]$Id, [string]$Mount, [bool]$Kept) {
    for ($waited = 0; $waited -le $WaitSeconds; $waited++) {
        if ((Invoke-Docker @('exec', $Id, '/dagent', 'healthcheck')).Code -eq 0) { return }
        $state = (Get-Field $Id '{{.State.Status}} {{.RestartCount}} {{.State.ExitCode}}') -split ' '
        $refused = (Invoke-Docker @('cp', "${Id}:$Mount/enrol-error", '-')).Code -eq 0
        if ($refused -or ($state[0] -ne 'running' -and $state[0] -ne 'restarting') -or [int]$state[1] -gt 2) {
            Show-LastWords $Id
            if ($refused) { throw 'the agent could not enrol' }
            throw ('the agent ended (' + $state[0] + ', exit code ' + $state[2] + ')')
        }
        if ($Kept -and $state[0] -eq 'running' -and $state[1] -eq '0' -and $waited -ge $SteadySeconds) {
            Write-Say 'the agent runs with the key it had; it has not said yet that it is connected'
            return
        }
        Start-Sleep -Seconds 1
    }
    Show-LastWords $Id
    throw "the agent was not enrolled within $WaitSeconds seconds; it must reach $AgentAddr"
}

function Show-LastWords([string]$Id) {
    $said = Invoke-Docker @('logs', '--tail', '20', $Id)
    Write-Warn 'its last log lines:'
    [Console]::Error.WriteLine((($said.Out + "`n" + $said.Err) -replace '[\x00-\x08\x0b-\x1f\x7f]', ''))
}

function Install-Agent {
    Test-Engine
    Test-Controller
    Test-Names
    Test-Version
    Test-Room
    $made = $script:Engine -ne '' -and (Invoke-Docker @('volume', 'inspect', $Volume)).Code -ne 0
    if ($made -and [DateTimeOffset]::UtcNow -ge (New-Object DateTimeOffset 1970, 1, 1, 0, 0, 0, ([TimeSpan]::Zero)).AddSeconds($ExpiresEpoch)) {
        Add-Problem "the token in this script expired at ${Expires}: make a new script for node $NodeName"
    }
    Stop-IfProblems
    if (-not $made -and (Test-UpToDate)) {
        Write-Say "the agent $AgentVersion is installed, connected and running: nothing to do"
        return
    }
    if ($DryRun) {
        Write-Say ('would download ' + $ControllerUrl + $script:Artifact.Path + ' and check its SHA-256')
        if ((Get-Field $Container '{{.Id}}') -ne '') { Write-Say "would replace the container $Container" }
        if ($made) { Write-Say "would enrol this machine at $AgentAddr as node $NodeName, with state in the volume $Volume" }
        Write-Say ("would run $Image as the container $Container on Docker Engine " + $script:Engine + '; nothing was changed')
        return
    }
    $archive = Get-Agent
    $settings = Get-Environment
    Restore-Interrupted
    $old = ''
    $new = ''
    try {
        [void](Assert-Docker @('load', '--quiet', '--input', $archive) 'load the agent')
        if ((Invoke-Docker @('image', 'inspect', $Image)).Code -ne 0) { throw "the archive does not hold the image $Image" }
        if ($made) {
            [void](Assert-Docker @('volume', 'create', '--label', "dev.fairlead.agent=$NodeId", '--label', "dev.fairlead.root=$RootSha256", $Volume) 'make the volume')
        }
        $mount = Assert-Docker @('volume', 'inspect', '--format', '{{.Mountpoint}}', $Volume) 'look at the volume'
        $old = Get-Field $Container '{{.Id}}'
        if ($old -ne '') {
            Write-Say 'stopping the previous agent'
            [void](Assert-Docker @('stop', '--time', '30', $old) 'stop the previous agent')
            [void](Assert-Docker @('rename', $old, "$Container-previous") 'set the previous agent aside')
        }
        $words = @('create', '--pull', 'never', '--name', $Container, '--restart', 'always', '--network', 'host',
            '--label', "dev.fairlead.agent=$NodeId", '--label', ('dev.fairlead.artifact=' + $script:Artifact.Sha256), '--label', "dev.fairlead.root-path=$mount",
            '--log-driver', 'json-file', '--log-opt', 'max-size=10m', '--log-opt', 'max-file=3',
            '--volume', '/var/run/docker.sock:/var/run/docker.sock', '--volume', "${Volume}:$mount", '--volume', "/run/${Container}:/run/$Container",
            '--env', "FAIRLEAD_STATE_DIR=$mount", '--env', "DAGENT_SECRETS_DIR=/run/$Container/secrets")
        foreach ($setting in $settings) { $words += @('--env', $setting) }
        Write-Say "starting the agent as the container $Container"
        $new = Assert-Docker ($words + $Image) 'create the container'
        # A node that was enrolled keeps its key; another is given the token.
        $kept = (Invoke-Docker @('cp', "${new}:$mount/enrolled", '-')).Code -eq 0
        [void](Assert-Docker @('cp', '-', "${new}:$mount") 'hand over the release keys' ([Convert]::FromBase64String($StateTar)))
        if (-not $kept) { [void](Assert-Docker @('cp', '-', "${new}:$mount") 'hand over the token' ([Convert]::FromBase64String($EnrolTar))) }
        [void](Assert-Docker @('start', $new) 'start the agent')
        Wait-Agent $new $mount $kept
    } catch {
        $why = $_.Exception.Message
        if ($new -ne '') { [void](Invoke-Docker @('rm', '--force', $new)) }
        if ($old -ne '') {
            [void](Invoke-Docker @('rename', $old, $Container))
            [void](Invoke-Docker @('start', $old))
            Write-Warn 'the previous agent is back'
        } else {
            [void](Invoke-Docker @('image', 'rm', $Image))
            if ($made) { [void](Invoke-Docker @('volume', 'rm', $Volume)) }
        }
        throw $why
    }
    if ($old -ne '') { [void](Invoke-Docker @('rm', '--force', $old)) }
    Save-Script
    Write-Say "done: this machine is node $NodeName of $ControllerUrl (agent $AgentVersion)"
    Write-Say ('to remove the agent later: powershell -ExecutionPolicy Bypass -File "' + (Get-KeptScript) + '" -Uninstall')
}

function Get-KeptScript {
    return (Join-Path (Join-Path ([Environment]::GetFolderPath('LocalApplicationData')) 'Fairlead') "$Container.ps1")
}

# Save-Script leaves this script on the machine, signed as it is: the controller
# serves it only until its token is used, and by now the token is.
function Save-Script {
    if ($PSCommandPath -eq '' -or $PSCommandPath -eq (Get-KeptScript)) { return }
    [void](New-Item -ItemType Directory -Force -Path (Split-Path (Get-KeptScript)))
    Copy-Item -Force -LiteralPath $PSCommandPath -Destination (Get-KeptScript)
}

function Uninstall-Agent {
    Test-Engine
    Test-Names
    Stop-IfProblems
    Write-Say 'removing the agent and its proxy; the containers it started keep running, and the controller keeps the node until it is deleted there'
    $mount = (Invoke-Docker @('volume', 'inspect', '--format', '{{.Mountpoint}}', $Volume)).Out
    $mine = @()
    foreach ($name in @("$Container-next", $Container, "$Container-previous")) {
        if ((Get-Field $name '{{.Id}}') -ne '') { $mine += $name }
    }
    if ($mount -ne '') {
        $edges = (Invoke-Docker @('ps', '--all', '--quiet', '--no-trunc', '--filter', "label=dev.fairlead.edge=$mount/edge")).Out
        foreach ($id in ($edges -split '\s+')) { if ($id -ne '') { $mine += $id } }
    }
    foreach ($name in $mine) {
        if ($DryRun) {
            Write-Say "would remove the container $name"
            continue
        }
        $image = Get-Field $name '{{.Image}}'
        [void](Assert-Docker @('stop', '--time', '30', $name) "stop $name")
        [void](Assert-Docker @('rm', '--force', '--volumes', $name) "remove $name")
        if ((Invoke-Docker @('image', 'rm', $image)).Code -ne 0) { Write-Warn "the image $image stays: something else uses it" }
        Write-Say "removed the container $name"
    }
    if ($DryRun) {
        Write-Say "would remove the volume $Volume; nothing was changed"
        return
    }
    if ($mount -ne '') {
        $networks = (Invoke-Docker @('network', 'ls', '--quiet', '--no-trunc', '--filter', "label=dev.fairlead.edge=$mount/edge")).Out
        foreach ($id in ($networks -split '\s+')) {
            if ($id -ne '' -and (Invoke-Docker @('network', 'rm', $id)).Code -ne 0) { Write-Warn "the network $id stays: containers that keep running are in it" }
        }
        [void](Assert-Docker @('volume', 'rm', $Volume) "remove the volume $Volume")
    }
    if (Test-Path -LiteralPath (Get-KeptScript)) { Remove-Item -Force -LiteralPath (Get-KeptScript) }
    Write-Say 'the agent is removed'
}

function Invoke-Main {
    if ($Help) { Show-Usage; return 0 }
    if ($Version) { [Console]::Out.WriteLine($AgentVersion); return 0 }
    if ($Show) { Show-Content; return 0 }
    try {
        [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12
        $script:Work = Join-Path ([IO.Path]::GetTempPath()) ('fairlead-' + [Guid]::NewGuid().ToString('N'))
        [void](New-Item -ItemType Directory -Path $script:Work)
        if ($Uninstall) { Uninstall-Agent } else { Install-Agent }
        return 0
    } catch {
        Write-Warn $_.Exception.Message
        return 1
    } finally {
        if ($script:Work -ne '' -and (Test-Path -LiteralPath $script:Work)) { Remove-Item -Recurse -Force -LiteralPath $script:Work }
    }
}

exit (Invoke-Main)
