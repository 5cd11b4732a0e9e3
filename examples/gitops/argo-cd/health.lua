-- How Argo CD is to see a Webhook of herald.dev, whose status is one of kstatus:
-- Reconciling means wait, Stalled means that somebody must act. One that is
-- disabled is as Git wants it, and so Healthy: Argo CD waits for whatever is
-- Suspended, and a sync would not end.
local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "Herald has not looked at this generation yet" }
end

local found = {}
for _, condition in ipairs(status.conditions or {}) do
  found[condition.type] = condition
end
local function holds(name)
  return found[name] ~= nil and found[name].status == "True"
end
local function said(name)
  return found[name].reason .. ": " .. found[name].message
end

if found.Ready == nil then
  return { status = "Progressing", message = "Herald has not said yet whether it is ready" }
elseif holds("Reconciling") then
  return { status = "Progressing", message = said("Ready") }
elseif holds("Stalled") then
  return { status = "Degraded", message = said("Ready") }
elseif not holds("Ready") then
  return { status = "Progressing", message = said("Ready") }
elseif found.Ready.reason == "Disabled" or found.Delivering == nil or holds("Delivering") then
  return { status = "Healthy", message = said("Ready") }
end
-- That events are held is not a matter of what Git says: alerts tell of it.
return { status = "Healthy", message = said("Ready") .. "; events are held: " .. said("Delivering") }
