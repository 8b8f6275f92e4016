-- Neovim: :Dictate starts, :Dictate again stops; each chunk is put at the cursor as it comes.
-- Put this file into ~/.config/nvim/plugin/.
local job

-- Before the cursor where one types, behind it elsewhere; a space apart from the word that stands there.
local function put(text)
  if text == "" then return end
  local typing = vim.api.nvim_get_mode().mode:find("^[iR]") ~= nil
  local column = vim.api.nvim_win_get_cursor(0)[2]
  local before = vim.api.nvim_get_current_line():sub(1, typing and column or column + 1)
  local apart = before:find("%S$") and " " or ""
  vim.api.nvim_put({ apart .. text .. " " }, "c", not typing, true)
end

local function dictate()
  if job then
    vim.fn.chanclose(job, "stdin") -- end of input: finish and print the rest
    return
  end
  local rest = ""
  job = vim.fn.jobstart({ "rec-stt", "progressive-record", "--stdin-control" }, {
    on_stdout = function(_, data)
      data[1] = rest .. data[1]
      rest = table.remove(data) -- the last piece is an unfinished line
      for _, line in ipairs(data) do
        local event = vim.json.decode(line)
        if event.type == "chunk" then put(event.text) end
        if event.type == "error" then vim.notify(event.message, vim.log.levels.ERROR) end
      end
    end,
    on_exit = function() job = nil end,
  })
end

vim.api.nvim_create_user_command("Dictate", dictate, {})
